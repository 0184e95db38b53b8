"""What the API says about tickets, and the public keys with which anyone can check one."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from domain.models import Ticket
from domain.rules.states import TicketStatus
from web.schemas.base import PathArguments, ResponseBody

Wallet = Literal["apple", "google"]


class TicketPath(PathArguments):
    """Names a ticket."""

    ticket_id: UUID


class TicketEvent(ResponseBody):
    """What the ticket is for."""

    id: UUID
    title: str
    starts_at: datetime
    ends_at: datetime
    doors_at: datetime | None
    timezone: Annotated[str, Field(examples=["Europe/Copenhagen"])]
    venue_name: str | None
    location: Annotated[str, Field(validation_alias="location_string")]
    status: str


class SaveLink(ResponseBody):
    """A link that saves a ticket to Google Wallet for whoever opens it: give it to nobody else."""

    url: Annotated[str, Field(examples=["https://pay.google.com/gp/v/save/eyJhbGciOiJSUzI1NiJ9.e30.c2ln"])]


class TicketTierName(ResponseBody):
    """Which kind of ticket it is."""

    id: UUID
    name: str


class TicketLinks(ResponseBody):
    """Where the ticket's pictures and documents are."""

    self: str
    order: Annotated[str, Field(description="For its buyer; whoever took the ticket over may not see it.")]
    qr_png: str
    qr_svg: str
    pdf: str
    calendar: str
    apple_wallet: Annotated[str | None, Field(description="The pass to download; null where passes are not set up.")]
    google_wallet: Annotated[str | None, Field(description="Where to ask for the link that saves it; null likewise.")]


class TicketBody(ResponseBody):
    """One ticket, for its holder only: whoever shows its code gets in."""

    id: UUID
    order_id: UUID
    code: Annotated[str, Field(description="What the door checks.", examples=["fWb1oQ6CwzXn2mKd8RtYpA"])]
    status: TicketStatus
    is_valid: Annotated[
        bool, Field(description="False, too, while a payment dispute blocks it or a refund is under way.")
    ]
    ready: Annotated[bool, Field(description="Whether its QR code can be fetched.")]
    qr_payload: Annotated[
        str | None, Field(description="The signed text in the QR code; null until it is rendered. See ticket-keys.")
    ]
    attendee_name: str
    attendee_email: str
    checked_in_at: datetime | None
    transferred_at: datetime | None
    created_at: datetime
    event: TicketEvent
    tier: TicketTierName
    links: TicketLinks

    @classmethod
    def of(cls, ticket: Ticket, api: str, wallets: Collection[Wallet] = ()) -> "TicketBody":
        """Describe a ticket; `api` is where the API's paths begin, `wallets` are those for which there are passes."""
        own = f"{api}/tickets/{ticket.id}"
        links = TicketLinks(
            self=own,
            order=f"{api}/orders/{ticket.order_id}",
            qr_png=f"{own}/qr.png",
            qr_svg=f"{own}/qr.svg",
            pdf=f"{own}/ticket.pdf",
            calendar=f"{own}/event.ics",
            apple_wallet=f"{own}/ticket.pkpass" if "apple" in wallets else None,
            google_wallet=f"{own}/google-wallet" if "google" in wallets else None,
        )
        return cls(
            **{name: getattr(ticket, name) for name in cls.model_fields.keys() - _MADE_HERE},
            event=TicketEvent.model_validate(ticket.event),
            tier=TicketTierName.model_validate(ticket.tier),
            ready=ticket.qr_payload is not None,
            links=links,
        )


_MADE_HERE = {"event", "tier", "ready", "links"}


class TicketKey(ResponseBody):
    """A public key as a JSON Web Key (RFC 8037, section 2)."""

    kid: Annotated[str, Field(examples=["t1"])]
    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    use: Literal["sig"] = "sig"
    x: Annotated[str, Field(description="The 32 bytes of the key, base64url without padding.")]


class TicketKeys(ResponseBody):
    """All that is needed to check a ticket's signature offline.

    The text in a QR code is `TV1.<kid>.<body>`. `body` is base64url without padding (RFC 4648) of: the event's id
    (16 bytes), the version of the code (2 bytes, big-endian; a transfer raises it), the code (ASCII), and an Ed25519
    signature (the last 64 bytes, RFC 8032) over the ASCII text `TV1.<kid>.` followed by all of the body before it.
    Refuse a text that does not encode back to itself. A good signature says that we issued the ticket; whether it was
    refunded, transferred or used since is the door's list to say.
    """

    event_id: UUID
    format: Annotated[Literal["TV1"], Field(description="The first part of the text in a QR code.")] = "TV1"
    algorithm: Literal["Ed25519"] = "Ed25519"
    keys: Annotated[list[TicketKey], Field(description="The first one signs; the others are from before a rotation.")]
