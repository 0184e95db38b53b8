"""Bodies of disputed payments."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from web.schemas.base import ResponseBody

_DISPUTE: dict[str, Any] = {
    "id": "0199c2f0-9e21-7c3e-9b1f-2a4c6e8f0b1d",
    "order_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "order_number": "TV-00000042",
    "amount": 5400,
    "currency": "EUR",
    "reason": "product_not_received",
    "status": "needs_response",
    "evidence_due_at": "2026-03-20T23:59:59Z",
    "tickets_blocked": 2,
    "opened_at": "2026-03-11T09:30:00Z",
    "closed_at": None,
}


class DisputeBody(ResponseBody):
    """A payment that the card's owner disputes, as Stripe last reported it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DISPUTE]})

    id: UUID
    order_id: UUID
    order_number: str
    amount: int
    currency: str
    reason: Annotated[str | None, Field(description="Stripe's word for why, such as `fraudulent`.")]
    status: Annotated[
        str | None,
        Field(
            description="Stripe's word: `needs_response`, `under_review`, `won`, `lost`, `prevented`; of a mere "
            "inquiry `warning_needs_response`, `warning_under_review`, `warning_closed`."
        ),
    ]
    evidence_due_at: Annotated[datetime | None, Field(description="Until when Stripe takes your evidence.")]
    tickets_blocked: Annotated[int, Field(description="Tickets of the order that open no door at the moment.")]
    opened_at: Annotated[datetime, Field(description="When we heard of it.")]
    closed_at: datetime | None
