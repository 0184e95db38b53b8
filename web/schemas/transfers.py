"""Bodies of transfers: a ticket on its way from its holder to somebody else."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.models import TicketTransfer
from domain.rules.states import TransferStatus
from web.addresses import API
from web.schemas.base import EmailAddress, Line, PathArguments, RequestBody, ResponseBody
from web.schemas.tickets import TicketEvent, TicketTierName

_HERE = f"{API}/transfers/0199c2f0-3c1e-7d60-8a52-6f0e1b2c3d4e"
_TICKET = "0199c2f0-2b1d-7c5f-8941-5e0d1a2b3c4d"
_TRANSFER: dict[str, Any] = {
    "id": "0199c2f0-3c1e-7d60-8a52-6f0e1b2c3d4e",
    "direction": "sent",
    "status": "pending",
    "ticket_id": _TICKET,
    "sender_name": "Ada Lovelace",
    "recipient_email": "grace@example.com",
    "recipient_name": "Grace Hopper",
    "expires_at": "2027-06-04T17:00:00Z",
    "ended_at": None,
    "created_at": "2027-05-30T08:15:00Z",
    "event": {
        "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
        "title": "Jazz on the Harbour",
        "starts_at": "2027-06-05T17:00:00Z",
        "ends_at": "2027-06-05T21:00:00Z",
        "doors_at": "2027-06-05T16:00:00Z",
        "timezone": "Europe/Copenhagen",
        "venue_name": "Refshaleøen",
        "location": "Refshaleøen, København, DK",
        "status": "published",
    },
    "tier": {"id": "01936d2f-11aa-7e02-8a57-0c9d4b6e7f80", "name": "Standing"},
    "links": {
        "self": _HERE,
        "ticket": f"{API}/tickets/{_TICKET}",
        "accept": None,
        "decline": None,
        "cancel": f"{_HERE}/cancel",
    },
}


class TransferPath(PathArguments):
    """A transfer's id."""

    transfer_id: UUID


class TransferRequest(RequestBody):
    """To whom the ticket shall go."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "grace@example.com", "name": "Grace Hopper"}, {"email": "g@acm.org"}]}
    )

    email: EmailAddress
    name: Annotated[
        Line | None, Field(description="Who goes in with it; null: the recipient, by the name of their account.")
    ] = None


class TransferLinks(ResponseBody):
    """Where to go from here; what you cannot do is null."""

    self: str
    ticket: Annotated[str | None, Field(description="Null unless you hold the ticket.")]
    accept: str | None
    decline: str | None
    cancel: str | None


class TransferBody(ResponseBody):
    """A ticket that was offered to an address, and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TRANSFER]})

    id: UUID
    direction: Annotated[Literal["sent", "received"], Field(description="From where you stand.")]
    status: Annotated[
        TransferStatus, Field(description="`void`: the ticket was refunded, cancelled, disputed or used meanwhile.")
    ]
    ticket_id: UUID
    sender_name: str
    recipient_email: str
    recipient_name: str | None
    expires_at: datetime
    ended_at: datetime | None
    created_at: datetime
    event: TicketEvent
    tier: TicketTierName
    links: TransferLinks

    @classmethod
    def of(cls, transfer: TicketTransfer, viewer_id: UUID, now: datetime) -> "TransferBody":
        """Describe a transfer to its sender or its recipient; all that is shown of it is loaded."""
        is_sender = transfer.sender_id == viewer_id
        is_open = transfer.is_pending and now < transfer.expires_at
        here, is_holder = f"{API}/transfers/{transfer.id}", transfer.ticket.holder_id == viewer_id
        return cls(
            **{name: getattr(transfer, name) for name in cls.model_fields.keys() - _MADE_HERE},
            direction="sent" if is_sender else "received",
            sender_name=transfer.sender.full_name,
            event=TicketEvent.model_validate(transfer.ticket.event),
            tier=TicketTierName.model_validate(transfer.ticket.tier),
            links=TransferLinks(
                self=here,
                ticket=f"{API}/tickets/{transfer.ticket_id}" if is_holder else None,
                accept=f"{here}/accept" if is_open and not is_sender else None,
                decline=f"{here}/decline" if is_open and not is_sender else None,
                cancel=f"{here}/cancel" if is_open and is_sender else None,
            ),
        )


_MADE_HERE = {"direction", "sender_name", "event", "tier", "links"}
