"""Arguments and body of an event's figures."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.analytics import Analytics
from domain.rules.states import OrderReason
from web.schemas.base import Moment, QueryArguments, ResponseBody
from web.schemas.order_examples import EVENT_ID, TIER_ID

_ANALYTICS: dict[str, Any] = {
    "event_id": EVENT_ID,
    "currency": "EUR",
    "as_of": "2027-06-12T17:05:00Z",
    "age_seconds": 42,
    "since": "2027-05-12T17:05:42Z",
    "until": "2027-06-12T17:05:42Z",
    "sales": [{"tier_id": TIER_ID, "hour": "2027-06-01T10:00:00Z", "orders": 40, "tickets": 93, "gross": 446_400}],
    "funnel": {"accepted": 120, "held": 60, "paid": 40, "issued": 40, "delivered": 39},
    "refusals": [{"tier_id": TIER_ID, "reason": "sold_out", "orders": 60, "tickets": 131}],
    "unmet_demand": [{"tier_id": TIER_ID, "refused_tickets": 131, "waiting_entries": 12, "waiting_tickets": 25}],
    "hold_conversion": {"held": 60, "paid": 40, "pending": 5, "median_seconds": 94.5},
    "waitlist": [
        {
            "tier_id": TIER_ID,
            "joined": 20,
            "waiting": 12,
            "waiting_tickets": 25,
            "offered": 7,
            "accepted": 4,
            "declined": 1,
            "expired": 1,
            "left": 1,
        }
    ],
    "check_ins": [{"quarter": "2027-06-12T17:00:00Z", "result": "accepted", "scans": 31}],
    "mail": [
        {
            "template": "order_confirmed",
            "written": 40,
            "sent": 40,
            "delivered": 39,
            "opened": 30,
            "clicked": 12,
            "bounced": 1,
        }
    ],
}


class AnalyticsArguments(QueryArguments):
    """From when to when sales and check-ins are told; all other figures are of the whole time."""

    since: Annotated[Moment | None, Field(description="Without it, 31 days before `until`.")] = None
    until: Annotated[Moment | None, Field(description="Without it, now. At most 92 days after `since`.")] = None


class HourlySalesBody(ResponseBody):
    """What was confirmed of a tier in an hour; hours without sales are left out."""

    tier_id: UUID
    hour: Annotated[datetime, Field(description="Its beginning.")]
    orders: int
    tickets: int
    gross: Annotated[int, Field(description="Minor units, with fees and tax; refunds are not taken off.")]


class FunnelBody(ResponseBody):
    """How many orders came how far; each number is a part of the one before it."""

    accepted: int
    held: int
    paid: int
    issued: int
    delivered: Annotated[int, Field(description="The confirmation's mail was delivered.")]


class RefusalsBody(ResponseBody):
    """Cancelled orders of a tier by their reason."""

    tier_id: UUID
    reason: OrderReason
    orders: int
    tickets: int


class UnmetDemandBody(ResponseBody):
    """What could not be sold of a tier; requests that were refused without being stored are not known."""

    tier_id: UUID
    refused_tickets: Annotated[int, Field(description="In orders that were served and refused as sold out.")]
    waiting_entries: int
    waiting_tickets: Annotated[int, Field(description="Those of the waitlist's waiting entries.")]


class HoldConversionBody(ResponseBody):
    """What became of orders that cost something and held their stock."""

    held: int
    paid: int
    pending: Annotated[int, Field(description="Those whose clock still runs.")]
    median_seconds: Annotated[float | None, Field(description="From being held to being paid.")]


class WaitlistFiguresBody(ResponseBody):
    """The waitlist of a tier: one entry per person, as it stands."""

    tier_id: UUID
    joined: int
    waiting: int
    waiting_tickets: int
    offered: Annotated[int, Field(description="Those who had an offer since they joined, whatever came of it.")]
    accepted: int
    declined: int
    expired: int
    left: int


class CheckInsBody(ResponseBody):
    """Scans at the door in a quarter of an hour, by the scanners' clocks."""

    quarter: Annotated[datetime, Field(description="Its beginning.")]
    result: str
    scans: int


class MailFiguresBody(ResponseBody):
    """Mails about the event's orders, by template."""

    template: str
    written: int
    sent: int
    delivered: int
    opened: int
    clicked: int
    bounced: int


class AnalyticsBody(ResponseBody):
    """An event's figures, and how old they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ANALYTICS]})

    event_id: UUID
    currency: str
    as_of: Annotated[
        datetime | None,
        Field(description="Whatever happened by then is counted in; null before the first count."),
    ]
    age_seconds: Annotated[int | None, Field(description="How long ago that was.")]
    since: datetime
    until: datetime
    sales: list[HourlySalesBody]
    funnel: FunnelBody
    refusals: list[RefusalsBody]
    unmet_demand: list[UnmetDemandBody]
    hold_conversion: HoldConversionBody
    waitlist: list[WaitlistFiguresBody]
    check_ins: list[CheckInsBody]
    mail: list[MailFiguresBody]

    @classmethod
    def of(cls, figures: Analytics, *, since: datetime, until: datetime, now: datetime) -> Self:
        """Return the figures as of a moment, told at another."""
        told = {name: getattr(figures, name) for name in cls.model_fields if hasattr(figures, name)}
        # Two clocks are compared: the database's, and ours.
        age = max(0, int((now - figures.as_of).total_seconds())) if figures.as_of else None
        event = {"event_id": figures.event.id, "currency": figures.event.currency}
        return cls.model_validate({**told, **event, "age_seconds": age, "since": since, "until": until})
