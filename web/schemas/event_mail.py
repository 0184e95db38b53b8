"""Bodies of what became of mails: an event's, and the addresses that get none."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.rules.states import MailStatus, SuppressionReason
from web.schemas.base import PathArguments, ResponseBody

_COUNTS: dict[str, Any] = {
    "templates": [
        {"template": "order_confirmed", "mails": {"bounced": 3, "delivered": 1_204, "sent": 5}},
        {"template": "reminder", "mails": {"delivered": 1_180, "suppressed": 3}},
    ]
}
_LOST: dict[str, Any] = {
    "address": "ada@example.com",
    "name": "Ada Lovelace",
    "order_number": "TV-00000042",
    "template": "order_confirmed",
    "status": "bounced",
    "reason": "550 5.1.1 The address does not exist",
    "at": "2027-03-01T09:35:12Z",
}
_SUPPRESSION: dict[str, Any] = {
    "id": "0199c2f0-9e21-7c3e-9b1f-2a4c6e8f0b1d",
    "address": "ada@example.com",
    "reason": "bounced",
    "detail": "550 5.1.1 The address does not exist",
    "since": "2027-03-01T09:35:12Z",
}


class TemplateCounts(ResponseBody):
    """How the mails of one template stand."""

    template: Annotated[str, Field(description="What they were written for.")]
    mails: Annotated[dict[MailStatus, int], Field(description="How many there are, by status; none are left out.")]


class EventMailBody(ResponseBody):
    """How the mails about an event stand."""

    model_config = ConfigDict(json_schema_extra={"examples": [_COUNTS]})

    templates: list[TemplateCounts]


class UndeliverableBody(ResponseBody):
    """An address that mail about the event did not reach, and the first of those mails."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LOST]})

    address: str
    name: str
    order_number: Annotated[str | None, Field(description="Null where the reader only holds somebody's ticket.")]
    template: str
    status: Annotated[MailStatus, Field(description="`bounced`; `suppressed` where it had bounced before.")]
    reason: Annotated[str | None, Field(description="What the receiving server said.")]
    at: datetime


class SuppressionPath(PathArguments):
    """A suppression's id."""

    suppression_id: UUID


class SuppressionBody(ResponseBody):
    """An address to which less mail goes, or none."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUPPRESSION]})

    id: UUID
    address: str
    reason: Annotated[
        SuppressionReason,
        Field(
            description="`bounced` and `invalid` stop all but what the person asks for; `complained` stops "
            "announcements and reminders."
        ),
    ]
    detail: str | None
    since: datetime
