"""Events: created, edited, published, cancelled and removed by their promoters.

Their tiers are in `tiers.py`, finding and reading them in `listings.py`. What becomes of the
orders of a cancelled event is in `payments/cancelled_events.py`. Whatever is done to an event raises, too, what
`ownership.lock_event` raises.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from sqlalchemy import exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from domain import audit, outgoing
from domain.audit import Actor
from domain.changes import as_json, change
from domain.errors import ConflictError, ForbiddenError, InvalidError
from domain.event_changes import tell_of_changes
from domain.messages import ServeTier, announce
from domain.models import Event, Order, Promoter, TicketTier
from domain.models.catalog import REMINDER_HOURS
from domain.ownership import lock_event, require_open, require_owner
from domain.rules.publishing import Draft, Fault, PricedTier, find_faults, find_price_fault
from domain.rules.states import EventStatus, UserRole, WebhookType
from domain.terms import Platform, can_be_paid, terms_of

SLUG_LENGTH = 80
_LETTERS = str.maketrans({"æ": "ae", "ø": "o", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i"})
"""Letters that Unicode does not take apart into an ASCII one and an accent."""


class UnpublishableError(ConflictError):
    """The event is not ready to go on sale; `faults` names everything that is missing."""

    default_code = "event-not-publishable"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("The event is not ready to be published.")
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class EventDetails:
    """All that a promoter says about an event; an edit replaces the whole of it."""

    title: str
    starts_at: datetime
    ends_at: datetime
    timezone: str
    capacity: int
    currency: str
    description: str | None = None
    category: str | None = None
    tags: Sequence[str] = ()
    doors_at: datetime | None = None
    venue_name: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None
    latitude: Decimal | None = None
    longitude: Decimal | None = None
    image_url: str | None = None
    is_private: bool = False
    absorbs_fees: bool = False
    tax_rate_bps: int = 0
    offer_seconds: int | None = None
    buyer_refund_hours: int | None = None
    transfers_allowed: bool = True
    transfer_until_hours: int | None = None
    refund_granted_until: datetime | None = None
    reminder_hours: int | None = REMINDER_HOURS
    skips_large_groups: bool = True
    is_featured: bool | None = None
    """Only an admin says it; null leaves it as it is."""


def create_event(session: Session, actor: Actor, details: EventDetails, platform: Platform) -> Event:
    """Create a draft of the actor's own, with the fees of this moment frozen in it.

    Raises `ConflictError` without a promoter profile, `InvalidError` for what contradicts itself, `ForbiddenError` if
    somebody else than an admin features it.
    """
    promoter = session.scalar(select(Promoter).where(Promoter.user_id == actor.user_id))
    if promoter is None:
        raise ConflictError("Tell who sells first: create your promoter profile.", code="promoter-profile-required")
    values = checked(details, platform)
    if values.setdefault("is_featured", False):
        _require_admin(actor)
    event = open_draft(session, promoter, values, platform)
    audit.record(session, actor, "event.create", event, new=as_json(values))
    return event


def open_draft(session: Session, promoter: Promoter, values: Mapping[str, Any], platform: Platform) -> Event:
    """Add a draft of a promoter's with these columns, which were `checked`, and the fees of this moment."""
    event = Event(
        **values,
        id=uuid7(),
        status=EventStatus.DRAFT,
        promoter=promoter,
        fee_rate_bps=platform.fee_rate_bps if promoter.fee_rate_bps is None else promoter.fee_rate_bps,
        fee_fixed=platform.fee_fixed if promoter.fee_fixed is None else promoter.fee_fixed,
        returns_fees=platform.returns_fees if promoter.returns_fees is None else promoter.returns_fees,
    )
    _add_with_slug(session, event)
    return event


def update_event(
    session: Session, actor: Actor, event_id: UUID, details: EventDetails, platform: Platform, now: datetime
) -> Event:
    """Replace what the promoter says about an event. Fees and slug stay; orders keep what they were sold with.

    Raises `ConflictError` if the event is over, or its tiers would not fit, or its currency is already published.
    """
    event = lock_event(session, actor, event_id)
    require_open(event)
    values = checked(details, platform)
    if values.get("is_featured", event.is_featured) != event.is_featured:
        _require_admin(actor)
    tiers = read_tiers(session, event.id)
    if committed_tickets(tiers) > details.capacity:
        raise ConflictError(
            f"The tiers hold {committed_tickets(tiers)} tickets already.",
            code="capacity-below-tiers",
            pointer="/capacity",
        )
    if event.is_published:
        _check_published_edit(event, details, tiers, now)
    old, new = change(event, values)
    if new:
        audit.record(session, actor, "event.update", event, old=old, new=new)
    if event.is_published:
        tell_of_changes(session, actor, event, old, new, now)
        if "skips_large_groups" in new:
            _ring(session, tiers)
    return event


def publish_event(session: Session, actor: Actor, event_id: UUID, platform: Platform, now: datetime) -> Event:
    """Put an event on sale; publishing twice changes nothing. Raises `UnpublishableError` with all that is missing."""
    event = lock_event(session, actor, event_id)
    require_open(event)
    if event.is_published:
        return event
    draft = Draft(
        starts_at=event.starts_at,
        capacity=event.capacity,
        currency=event.currency,
        terms=terms_of(event),
        has_verified_promoter=event.promoter.is_verified,
        can_be_paid=can_be_paid(event.promoter, platform),
        tiers=[
            PricedTier(tier.price, tier.quantity, tier.max_per_order, tier.is_active, tier.sale_ends_at)
            for tier in read_tiers(session, event.id)
        ],
    )
    if faults := find_faults(draft, now):
        raise UnpublishableError(faults)
    _move(session, actor, event, "event.publish", EventStatus.PUBLISHED, published_at=now)
    outgoing.tell(session, event.id, WebhookType.EVENT_PUBLISHED, {"status": event.status})
    return event


def cancel_event(session: Session, actor: Actor, event_id: UUID, now: datetime) -> Event:
    """Call a published event off: nothing more is sold, and the sweep refunds what was. Twice changes nothing.

    Raises `ForbiddenError` for the promoter's team, `ConflictError` for a draft, which can be deleted, and for an event
    that is over.
    """
    event = lock_event(session, actor, event_id)
    require_owner(event.promoter, actor)
    if event.is_cancelled:
        return event
    require_open(event)
    if not event.is_published:
        raise ConflictError("A draft is not on sale: delete it instead.", code="event-not-published")
    _call_off(session, actor, event, now)
    return event


def delete_event(session: Session, actor: Actor, event_id: UUID, now: datetime) -> None:
    """Remove a draft, or an event that nobody has ordered from. Raises `ConflictError` if somebody has."""
    event = lock_event(session, actor, event_id)
    if session.scalar(select(exists().where(Order.event_id == event.id))):
        raise ConflictError("There are orders for this event: cancel it instead.", code="event-has-orders")
    if event.is_published:
        # An order may be on its way in; a cancelled event gives it back.
        _call_off(session, actor, event, now)
    event.deleted_at = now
    audit.record(session, actor, "event.delete", event, old=as_json({"title": event.title, "status": event.status}))


def read_tiers(session: Session, event_id: UUID) -> Sequence[TicketTier]:
    """Return the event's tiers as they are now, in the promoter's order."""
    return session.scalars(
        select(TicketTier)
        .where(TicketTier.event_id == event_id)
        .order_by(TicketTier.sort_order, TicketTier.id)
        .execution_options(populate_existing=True)
    ).all()


def committed_tickets(tiers: Sequence[TicketTier]) -> int:
    """Return how many tickets the tiers hold, or may hold as soon as their consumers have applied what was asked."""
    return sum(max(tier.quantity, tier.desired_quantity or 0) for tier in tiers)


def checked(details: EventDetails, platform: Platform) -> dict[str, Any]:
    """Return the event's columns; raise `InvalidError` for what contradicts itself or cannot be offered here."""
    if details.ends_at <= details.starts_at:
        raise InvalidError("The event must end after it starts.", pointer="/ends_at")
    if details.doors_at is not None and details.doors_at > details.starts_at:
        raise InvalidError("Doors open before the event starts.", pointer="/doors_at")
    if details.timezone not in _timezones():
        raise InvalidError("This is no IANA time zone, such as Europe/Copenhagen.", pointer="/timezone")
    if (details.latitude is None) != (details.longitude is None):
        raise InvalidError("A place has a latitude and a longitude.", pointer="/latitude")
    if details.currency not in platform.currencies:
        raise InvalidError(f"The currency must be one of {', '.join(platform.currencies)}.", pointer="/currency")
    values = {**asdict(details), "tags": list(dict.fromkeys(tag.lower() for tag in details.tags))}
    if details.is_featured is None:
        del values["is_featured"]
    return values


def _check_published_edit(event: Event, details: EventDetails, tiers: Sequence[TicketTier], now: datetime) -> None:
    if details.currency != event.currency:
        raise ConflictError("A published event keeps its currency.", code="event-published", pointer="/currency")
    if details.starts_at != event.starts_at and details.starts_at <= now:
        raise InvalidError("A published event can only be moved into the future.", pointer="/starts_at")
    terms = replace(terms_of(event), absorbs_fees=details.absorbs_fees, tax_rate_bps=details.tax_rate_bps)
    for tier in tiers:
        fault = find_price_fault(tier.price, tier.max_per_order, event.currency, terms) if tier.is_active else None
        if fault:
            pointer = "/absorbs_fees" if details.absorbs_fees != event.absorbs_fees else "/tax_rate_bps"
            raise InvalidError(f"{tier.name}: {fault}", pointer=pointer)


def _require_admin(actor: Actor) -> None:
    if actor.role is not UserRole.ADMIN:
        raise ForbiddenError("Only an admin features an event.", pointer="/is_featured")


def _add_with_slug(session: Session, event: Event) -> None:
    """Add the event under a slug of its title, or of its title and id if another event has that already."""
    event.slug = slug_of(event.title)
    try:
        with session.begin_nested():
            session.add(event)
    except IntegrityError as error:
        if "uq_events_slug" not in str(error.orig):
            raise
        event.slug = f"{event.slug}-{event.id.hex[-12:]}"
        session.add(event)
        session.flush()


def slug_of(title: str) -> str:
    """Return a title as a part of an address: ASCII letters, digits and single hyphens."""
    folded = unicodedata.normalize("NFKD", title.casefold().translate(_LETTERS)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", folded)[:SLUG_LENGTH].strip("-") or "event"


def _call_off(session: Session, actor: Actor, event: Event, now: datetime) -> None:
    _move(session, actor, event, "event.cancel", EventStatus.CANCELLED, cancelled_at=now)
    _ring(session, read_tiers(session, event.id))
    outgoing.tell(session, event.id, WebhookType.EVENT_CANCELLED, {"status": event.status})


def _move(session: Session, actor: Actor, event: Event, action: str, status: EventStatus, **times: datetime) -> None:
    old, new = change(event, {"status": status, **times})
    audit.record(session, actor, action, event, old=old, new=new)


def _ring(session: Session, tiers: Sequence[TicketTier]) -> None:
    for tier in tiers:
        announce(session, ServeTier(tier.id))


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())
