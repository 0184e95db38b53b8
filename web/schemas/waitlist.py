"""Bodies of the waitlist."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.models import Waitlist
from domain.rules.states import WaitlistStatus
from web.schemas.base import PathArguments, PositiveCount, RequestBody, ResponseBody


class EntryPath(PathArguments):
    """A waitlist entry's id."""

    entry_id: UUID


class JoinRequest(RequestBody):
    """How many tickets of which sold-out tier."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"tier_id": "01936d2f-11aa-7e02-8a57-0c9d4b6e7f80", "quantity": 2}]}
    )

    tier_id: UUID
    quantity: PositiveCount = 1


class OfferBody(ResponseBody):
    """An offer that stands: an order that holds the tickets until then."""

    order_id: UUID
    expires_at: datetime
    accept: Annotated[str | None, Field(description="Null once it was accepted.")]
    decline: str | None


class WaitingPerson(ResponseBody):
    """Who waits."""

    id: UUID
    name: Annotated[str, Field(validation_alias="full_name")]
    email: str


_LISTED: dict[str, Any] = {
    "id": "01936d2f-5c1b-7a64-9f0e-2d3c4b5a6978",
    "tier_id": "01936d2f-11aa-7e02-8a57-0c9d4b6e7f80",
    "tier_name": "Standing",
    "person": {"id": "01936d2e-0f3d-7b11-8c22-9e8d7c6b5a40", "name": "Ada Lovelace", "email": "ada@example.com"},
    "quantity": 2,
    "sequence": 4711,
    "status": "offered",
    "offered_at": "2027-05-01T10:00:00Z",
    "offer_expires_at": "2027-05-01T10:30:00Z",
    "responded_at": None,
    "offered_order_id": "01936d31-0b7c-7d15-9e62-4f8a1c3b5d70",
    "unoffered_reason": None,
    "created_at": "2027-04-28T19:05:00Z",
}


class ListedEntry(ResponseBody):
    """A place in the line of one tier, as those who sell for the event see it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LISTED]})

    id: UUID
    tier_id: UUID
    tier_name: str
    person: WaitingPerson
    quantity: int
    sequence: Annotated[int, Field(description="The number in the line that waiting people share with buyers.")]
    status: WaitlistStatus
    offered_at: datetime | None
    offer_expires_at: datetime | None
    responded_at: datetime | None
    offered_order_id: UUID | None
    unoffered_reason: Annotated[str | None, Field(description="Why the entry ended without an offer.")]
    created_at: datetime

    @classmethod
    def of(cls, entry: Waitlist) -> "ListedEntry":
        """Describe an entry, whose tier and person are loaded."""
        kept = {name: getattr(entry, name) for name in cls.model_fields.keys() - {"tier_name", "person"}}
        return cls(**kept, tier_name=entry.tier.name, person=WaitingPerson.model_validate(entry.user))


class EntryBody(ResponseBody):
    """A place in the line of one tier."""

    id: UUID
    event_id: UUID
    event_title: str
    tier_id: UUID
    tier_name: str
    quantity: int
    status: WaitlistStatus
    sequence: Annotated[int, Field(description="The number in the line that waiting people share with buyers.")]
    position: Annotated[int | None, Field(description="Place among those who wait; 1 is next. Null when not waiting.")]
    offer: OfferBody | None
    unoffered_reason: Annotated[str | None, Field(description="Why the entry ended without an offer.")]
    created_at: datetime
