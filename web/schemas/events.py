"""Bodies and filters of events."""

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from domain.catalog import EventDetails
from domain.listings import EventFilter
from domain.models import Event
from domain.models.catalog import LONGEST_REMINDER_HOURS, REMINDER_HOURS
from domain.rules.states import EventStatus
from web.addresses import API
from web.paging import PageArguments
from web.schemas.base import (
    BasisPoints,
    CountryCode,
    CurrencyCode,
    Line,
    Moment,
    PathArguments,
    PositiveCount,
    RequestBody,
    ResponseBody,
    SearchWords,
    Text,
    WebAddress,
)
from web.schemas.event_examples import EVENT, EVENT_DETAILS

Word = Annotated[Line, StringConstraints(max_length=50)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
DAY_SECONDS = 24 * 3600
YEAR_HOURS = 366 * 24


class EventPath(PathArguments):
    """An event's id."""

    event_id: UUID


class EventSearch(PageArguments):
    """What to look for; what is left out does not matter."""

    q: Annotated[
        SearchWords | None,
        Field(description='Words, "a phrase", `or`, `-without`; the last word may be unfinished.', examples=["jazz"]),
    ] = None
    category: Annotated[SearchWords | None, Field(examples=["music"])] = None
    tag: Annotated[SearchWords | None, Field(examples=["open air"])] = None
    city: Annotated[SearchWords | None, Field(examples=["København"])] = None
    starts_from: Annotated[
        Moment | None, Field(alias="from", description="Starts at this time or later; may be past.")
    ] = None
    starts_before: Annotated[Moment | None, Field(alias="to", description="Starts before this time.")] = None
    featured: Annotated[bool | None, Field(description="Whether an admin has featured it.")] = None
    mine: Annotated[
        bool, Field(description="Yours and your teams' events instead, drafts and private ones among them.")
    ] = False

    def filter(self) -> EventFilter:
        """Return what the domain looks for."""
        return EventFilter(
            words=self.q,
            category=self.category,
            tag=self.tag,
            city=self.city,
            starts_from=self.starts_from,
            starts_before=self.starts_before,
            is_featured=self.featured,
        )


class EventRequest(RequestBody):
    """All that a promoter says about an event. `PUT` replaces the whole: what is left out takes its default."""

    model_config = ConfigDict(json_schema_extra={"examples": [EVENT_DETAILS]})

    title: Line
    description: Text | None = None
    category: Word | None = None
    tags: Annotated[tuple[Word, ...], Field(max_length=20, description="Kept in lower case.")] = ()
    starts_at: Moment
    ends_at: Moment
    doors_at: Moment | None = None
    timezone: Annotated[Line, Field(description="IANA name, in which people read the times.")]
    venue_name: Line | None = None
    address_line1: Line | None = None
    address_line2: Line | None = None
    city: Line | None = None
    region: Line | None = None
    postal_code: Word | None = None
    country: CountryCode | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    image_url: WebAddress | None = None
    is_private: Annotated[bool, Field(description="Invisible to everybody but its promoter and admins.")] = False
    is_featured: Annotated[bool | None, Field(description="Only an admin says it; null leaves it as it is.")] = None
    capacity: Annotated[PositiveCount, Field(description="The tiers together never hold more.")]
    currency: CurrencyCode
    absorbs_fees: Annotated[bool, Field(description="The platform's fees come out of the price, not on top.")] = False
    tax_rate_bps: Annotated[BasisPoints, Field(description="On top of prices and fees; 2500 is 25 %.")] = 0
    offer_seconds: Annotated[
        int | None,
        Field(ge=60, le=7 * DAY_SECONDS, description="How long an offer to the waitlist stands; null: the platform's."),
    ] = None
    buyer_refund_hours: Annotated[
        int | None,
        Field(
            ge=0,
            le=YEAR_HOURS,
            description="Until how many hours before the start buyers may refund unused tickets themselves; null: they "
            "may not.",
        ),
    ] = None
    transfers_allowed: Annotated[bool, Field(description="Whether holders may hand their tickets on.")] = True
    transfer_until_hours: Annotated[
        int | None,
        Field(
            ge=0,
            le=YEAR_HOURS,
            description="Until how many hours before the start they may, and a transfer may be accepted; null: until "
            "the start.",
        ),
    ] = None
    refund_granted_until: Annotated[
        Moment | None,
        Field(
            description="Until when buyers may refund unused tickets whatever `buyer_refund_hours` says. Set it when "
            "you change a published event: the mail about the change tells them."
        ),
    ] = None
    reminder_hours: Annotated[
        int | None,
        Field(
            ge=1,
            le=LONGEST_REMINDER_HOURS,
            description="How many hours before the start ticket holders are reminded by mail; null: never.",
        ),
    ] = REMINDER_HOURS
    skips_large_groups: Annotated[
        bool, Field(description="Whether a waiting group that does not fit is passed over by smaller ones.")
    ] = True

    def details(self) -> EventDetails:
        """Return what the domain keeps."""
        values = {field.name: getattr(self, field.name) for field in fields(EventDetails)}
        return EventDetails(
            **{**values, "latitude": _six_decimals(self.latitude), "longitude": _six_decimals(self.longitude)}
        )


class DuplicateRequest(RequestBody):
    """What is to differ."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "Jazz on the Harbour II", "starts_at": "2028-06-03T17:00:00Z"}]}
    )

    title: Annotated[Line | None, Field(description="Null: the same.")] = None
    starts_at: Annotated[
        Moment | None,
        Field(description="All other times, those of the sale too, move by the same distance. Null: none moves."),
    ] = None


def _six_decimals(degrees: float | None) -> Decimal | None:
    """Return degrees as they are stored: to a decimetre."""
    return None if degrees is None else Decimal(f"{degrees:.6f}")


class EventPromoter(ResponseBody):
    """Who sells."""

    id: UUID
    name: Annotated[str, Field(validation_alias="company_name")]


class EventLinks(ResponseBody):
    """Where to go from here."""

    self: str
    tiers: str
    waitlist: str


class EventBody(ResponseBody):
    """An event."""

    model_config = ConfigDict(json_schema_extra={"examples": [EVENT]})

    id: UUID
    slug: Annotated[str, Field(description="For addresses that people read; stays when the title changes.")]
    status: EventStatus
    title: str
    description: str | None
    category: str | None
    tags: list[str]
    starts_at: datetime
    ends_at: datetime
    doors_at: datetime | None
    timezone: str
    venue_name: str | None
    address_line1: str | None
    address_line2: str | None
    city: str | None
    region: str | None
    postal_code: str | None
    country: str | None
    latitude: float | None
    longitude: float | None
    location: str
    image_url: str | None
    is_private: bool
    is_featured: bool
    capacity: int
    currency: str
    fee_rate_bps: Annotated[int, Field(description="The platform's fee on each line, frozen at creation.")]
    fee_fixed: Annotated[int, Field(description="The platform's fee per paid ticket, in minor units.")]
    returns_fees: Annotated[
        bool,
        Field(
            description="Whether the platform's fee goes back with a refund, frozen at creation. When the event is "
            "cancelled it always does."
        ),
    ]
    absorbs_fees: bool
    tax_rate_bps: int
    offer_seconds: int | None
    buyer_refund_hours: int | None
    transfers_allowed: bool
    transfer_until_hours: int | None
    refund_granted_until: datetime | None
    reminder_hours: int | None
    skips_large_groups: bool
    published_at: datetime | None
    cancelled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    promoter: EventPromoter
    links: EventLinks

    @classmethod
    def of(cls, event: Event) -> Self:
        """Return what is told about an event; its promoter is loaded."""
        here = f"{API}/events/{event.id}"
        columns = {name: getattr(event, name) for name in cls.model_fields if name not in {"location", "links"}}
        links = EventLinks(self=here, tiers=f"{here}/tiers", waitlist=f"{here}/waitlist")
        return cls.model_validate({**columns, "location": event.location_string, "links": links})
