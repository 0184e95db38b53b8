"""Arguments and rows of an event's list of attendees."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.attendees import AttendeeFilter
from domain.rules.states import TicketStatus
from web.paging import PageArguments
from web.schemas.base import DeskWords, QueryArguments, ResponseBody
from web.schemas.order_examples import ORDER_ID, TICKET_ID, TIER_ID

_ROW: dict[str, Any] = {
    "id": TICKET_ID,
    "attendee_name": "Ada Lovelace",
    "attendee_email": "ada@example.com",
    "tier_id": TIER_ID,
    "tier_name": "Front",
    "order_id": ORDER_ID,
    "order_number": "TV-00004711",
    "status": "used",
    "is_blocked": False,
    "checked_in_at": "2027-06-12T17:05:00Z",
    "transferred_at": None,
    "created_at": "2027-06-01T10:02:31Z",
}


class AttendeeFilterArguments(QueryArguments):
    """Which tickets; what is left out does not narrow it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"checked_in": False, "q": "lovelace"}]})

    tier_id: Annotated[UUID | None, Field(description="Those of this tier.", examples=[TIER_ID])] = None
    status: TicketStatus | None = None
    checked_in: Annotated[bool | None, Field(description="Those that came in, or did not.")] = None
    q: Annotated[
        DeskWords | None,
        Field(description="An order's number, or a part of the attendee's name or address.", examples=["lovelace"]),
    ] = None

    def wanted(self) -> AttendeeFilter:
        """Return them as the domain knows them."""
        return AttendeeFilter(self.tier_id, self.status, self.checked_in, self.q)


class AttendeeArguments(AttendeeFilterArguments, PageArguments):
    """Which tickets, and which page of them."""


class EventAttendeeBody(ResponseBody):
    """A ticket as the promoter's team sees it; its code is for its holder."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ROW]})

    id: Annotated[UUID, Field(description="The ticket's.")]
    attendee_name: str
    attendee_email: str
    tier_id: UUID
    tier_name: str
    order_id: UUID
    order_number: str
    status: TicketStatus
    is_blocked: Annotated[bool, Field(description="Whether a payment dispute keeps it out.")]
    checked_in_at: datetime | None
    transferred_at: datetime | None
    created_at: Annotated[datetime, Field(description="When it was issued.")]
