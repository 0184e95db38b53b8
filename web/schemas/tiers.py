"""Bodies of ticket tiers and of what is left of them."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from domain.code_terms import CodeTerms
from domain.models import TicketTier
from domain.rules.money import MAXIMUM_CHARGE
from domain.rules.pricing import price_line
from domain.storefront import Offer
from domain.tiers import TierDetails
from web.addresses import API
from web.schemas.base import Count, Line, Moment, PathArguments, QueryArguments, RequestBody, ResponseBody, Text
from web.schemas.codes import SentCode

TICKETS_PER_ORDER = 100
Name = Annotated[Line, StringConstraints(max_length=100)]
PerOrder = Annotated[int, Field(ge=1, le=TICKETS_PER_ORDER)]

_DETAILS: dict[str, Any] = {
    "name": "Standing",
    "description": "In front of the stage.",
    "price": 24500,
    "quantity": 1500,
    "min_per_order": 1,
    "max_per_order": 8,
    "max_per_person": 8,
    "sale_starts_at": "2027-03-01T09:00:00Z",
    "sale_ends_at": None,
    "requires_approval": False,
    "sort_order": 0,
    "is_active": True,
    "is_hidden": False,
}
_ID, _EVENT_ID = "0199c2f0-8a00-7c3e-9b1f-2a4c6e8f0b1d", "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d"
_AVAILABILITY: dict[str, Any] = {
    "tier_id": _ID,
    "event_id": _EVENT_ID,
    "available": 312,
    "on_sale": True,
    "sold_out": False,
    "paused": False,
    "draining": False,
    "sale_starts_at": "2027-03-01T09:00:00Z",
    "sale_ends_at": "2027-06-05T21:00:00Z",
    "price": 24500,
    "price_with_code": None,
    "currency": "DKK",
    "min_per_order": 1,
    "max_per_order": 8,
    "links": {
        "self": f"{API}/tiers/{_ID}/availability",
        "event": f"{API}/events/{_EVENT_ID}",
        "orders": f"{API}/orders",
        "waitlist": f"{API}/events/{_EVENT_ID}/waitlist",
    },
}
_TIER: dict[str, Any] = {
    "id": _ID,
    "event_id": _EVENT_ID,
    **_DETAILS,
    "currency": "DKK",
    "desired_quantity": 1600,
    "quantity_refusal": None,
    "sold": 1180,
    "reserved": 8,
    "percent_sold": 78.7,
    "availability": _AVAILABILITY,
}


class TierPath(PathArguments):
    """A tier's id."""

    tier_id: UUID


class CodeArgument(QueryArguments):
    """What else the reader has in hand."""

    code: Annotated[SentCode | None, Field(description="A discount or access code of the event.")] = None


class TierRequest(RequestBody):
    """All that a promoter says about a tier. `PUT` replaces the whole: what is left out takes its default."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DETAILS]})

    name: Name
    description: Text | None = None
    price: Annotated[
        int,
        Field(
            ge=0, le=MAXIMUM_CHARGE, description="Minor units of the event's currency, before fees and tax; 0 is free."
        ),
    ]
    quantity: Count
    min_per_order: PerOrder = 1
    max_per_order: PerOrder = 10
    max_per_person: Annotated[int | None, Field(ge=1, le=10_000, description="Over all of a person's orders.")] = None
    sale_starts_at: Annotated[Moment | None, Field(description="Null: as soon as the event is published.")] = None
    sale_ends_at: Annotated[Moment | None, Field(description="Null: when the event ends.")] = None
    requires_approval: Annotated[bool, Field(description="Each order waits for the promoter's yes.")] = False
    sort_order: Annotated[int, Field(ge=0, le=10_000)] = 0
    is_active: bool = True
    is_hidden: Annotated[bool, Field(description="Shown and sold only to who sends a code that opens it.")] = False

    def details(self) -> TierDetails:
        """Return what the domain keeps."""
        return TierDetails(**self.model_dump())


class AvailabilityLinks(ResponseBody):
    """Where to go from here."""

    self: str
    event: str
    orders: str
    waitlist: Annotated[str, Field(description="Where to wait when it is sold out.")]


class AvailabilityBody(ResponseBody):
    """What could be bought at this moment: a picture, not a promise."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AVAILABILITY]})

    tier_id: UUID
    event_id: UUID
    available: Annotated[int, Field(description="What is free, minus what waiting groups that fit would take.")]
    on_sale: Annotated[bool, Field(description="Whether orders are accepted.")]
    sold_out: bool
    paused: Annotated[bool, Field(description="Orders are accepted, and served when the promoter resumes.")]
    draining: Annotated[bool, Field(description="Orders in line are served, and no new ones are accepted.")]
    sale_starts_at: datetime | None
    sale_ends_at: datetime
    price: int
    price_with_code: Annotated[
        int | None, Field(description="Of one ticket with the `code` that was sent, where it lowers the price.")
    ]
    currency: str
    min_per_order: int
    max_per_order: int
    links: AvailabilityLinks

    @classmethod
    def of(cls, offer: Offer, now: datetime, code: CodeTerms | None = None) -> Self:
        """Return what an offer means at this moment, to who has this code."""
        event = f"{API}/events/{offer.event_id}"
        return cls(
            tier_id=offer.tier_id,
            event_id=offer.event_id,
            available=offer.available,
            on_sale=offer.is_on_sale(now),
            sold_out=offer.is_sold_out,
            paused=offer.is_paused,
            draining=offer.is_draining,
            sale_starts_at=offer.sale_starts_at,
            sale_ends_at=min(offer.sale_ends_at or offer.event_ends_at, offer.event_ends_at),
            price=offer.unit_price,
            price_with_code=_price_with(code, offer),
            currency=offer.currency,
            min_per_order=offer.min_per_order,
            max_per_order=offer.max_per_order,
            links=AvailabilityLinks(
                self=f"{API}/tiers/{offer.tier_id}/availability",
                event=event,
                orders=f"{API}/orders",
                waitlist=f"{event}/waitlist",
            ),
        )


class TierBody(ResponseBody):
    """A tier. What was sold of it is told to the event's promoter and to admins only."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TIER]})

    id: UUID
    event_id: UUID
    name: str
    description: str | None
    price: int
    currency: str
    min_per_order: int
    max_per_order: int
    max_per_person: int | None
    sale_starts_at: datetime | None
    sale_ends_at: datetime | None
    requires_approval: bool
    sort_order: int
    is_active: bool
    is_hidden: bool
    quantity: Annotated[int | None, Field(description="Null for others than its promoter, like all that follows.")] = (
        None
    )
    desired_quantity: Annotated[
        int | None, Field(description="What was asked for, until the tier's consumer has applied or refused it.")
    ] = None
    quantity_refusal: Annotated[str | None, Field(description="Why the last quantity asked for was refused.")] = None
    sold: int | None = None
    reserved: int | None = None
    percent_sold: float | None = None
    availability: AvailabilityBody

    @classmethod
    def of(cls, tier: TicketTier, offer: Offer, now: datetime, *, is_own: bool, code: CodeTerms | None = None) -> Self:
        """Return what is told about a tier to its promoter, or to anybody who has this code."""
        shown = cls.model_fields.keys() - {"currency", "availability"} - (set() if is_own else _OWN)
        values = {name: getattr(tier, name) for name in shown}
        availability = AvailabilityBody.of(offer, now, code)
        return cls.model_validate({**values, "currency": offer.currency, "availability": availability})


def _price_with(code: CodeTerms | None, offer: Offer) -> int | None:
    if code is None or code.discount is None or not code.is_for(offer):
        return None
    return price_line(offer.unit_price, 1, offer.terms, code.discount).subtotal


_OWN = {"quantity", "desired_quantity", "quantity_refusal", "sold", "reserved", "percent_sold"}


class TiersBody(ResponseBody):
    """All tiers of an event, in the promoter's order; there are at most a hundred."""

    items: list[TierBody]
