"""Bodies of the waitlist."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

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
