"""Ticket tiers as promoters see them: created, edited, paused, drained and resumed.

The counters, and the quantity of a tier that is on sale, belong to the tier's consumer (`allocation.py`): here only
wishes are written. What buyers see is in `storefront.py`. Whatever is done to a tier raises, too, what
`ownership.lock_event` raises.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain import audit
from domain.audit import Actor
from domain.catalog import committed_tickets, read_tiers
from domain.changes import as_json, change
from domain.errors import ConflictError, InvalidError, NotFoundError
from domain.messages import ServeTier, announce
from domain.models import Event, TicketTier
from domain.ownership import lock_event, require_open
from domain.rules.publishing import ACCOUNT_MISSING, UNVERIFIED, find_price_fault
from domain.rules.states import EventStatus
from domain.terms import Platform, can_be_paid, terms_of

MAX_TIERS = 100
"""Per event; its tiers are shown in one page."""


@dataclass(frozen=True, slots=True)
class TierDetails:
    """All that a promoter says about a tier; an edit replaces the whole of it."""

    name: str
    price: int
    quantity: int
    description: str | None = None
    min_per_order: int = 1
    max_per_order: int = 10
    max_per_person: int | None = None
    sale_starts_at: datetime | None = None
    sale_ends_at: datetime | None = None
    requires_approval: bool = False
    sort_order: int = 0
    is_active: bool = True
    is_hidden: bool = False


def create_tier(session: Session, actor: Actor, event_id: UUID, details: TierDetails, platform: Platform) -> TicketTier:
    """Add a tier to a draft or to an event on sale.

    Raises `InvalidError` for a price that cannot be charged or limits that contradict each other, `ConflictError` if
    the event is over or has no room, or if it is on sale and its promoter may not sell paid tickets (any more).
    """
    event = lock_event(session, actor, event_id)
    require_open(event)
    _check(event, details)
    tiers = read_tiers(session, event.id)
    if len(tiers) >= MAX_TIERS:
        raise ConflictError(f"An event has at most {MAX_TIERS} tiers.", code="too-many-tiers")
    _check_capacity(event, tiers, details.quantity)
    if _is_for_money(details):
        _check_seller(event, platform)
    tier = TicketTier(**asdict(details), event_id=event.id, sold=0, reserved=0, is_paused=False)
    session.add(tier)
    session.flush()
    audit.record(session, actor, "tier.create", tier, new=as_json(asdict(details)))
    return tier


def update_tier(session: Session, actor: Actor, tier_id: UUID, details: TierDetails, platform: Platform) -> TicketTier:
    """Replace what the promoter says about a tier. A new price is for new orders only.

    While the event is on sale a new quantity is only asked for (`desired_quantity`), and the tier's consumer applies
    it. Raises as `create_tier` does, and `ConflictError` if more tickets are taken than would be left.
    """
    event, tier = _lock(session, actor, tier_id)
    require_open(event)
    _check(event, details)
    if details.quantity < tier.sold + tier.reserved:
        raise ConflictError(
            f"{tier.sold + tier.reserved} tickets are sold or reserved already.",
            code="quantity-below-sold",
            pointer="/quantity",
        )
    others = [other for other in read_tiers(session, event.id) if other.id != tier.id]
    _check_capacity(event, others, details.quantity)
    if _is_for_money(details) and not _is_for_money(tier):
        _check_seller(event, platform)
    values = asdict(details)
    if event.status is EventStatus.PUBLISHED:
        wanted = values.pop("quantity")
        values["desired_quantity"] = wanted if wanted != tier.quantity else None
        values["quantity_refusal"] = None
    old, new = change(tier, values)
    if new:
        audit.record(session, actor, "tier.update", tier, old=old, new=new)
    if new.get("desired_quantity") is not None:
        announce(session, ServeTier(tier.id))
    return tier


def pause_tier(session: Session, actor: Actor, tier_id: UUID) -> TicketTier:
    """Stop serving a tier; orders are still accepted, and wait. Pausing twice changes nothing."""
    return _regulate(session, actor, tier_id, "tier.pause", is_paused=True)


def drain_tier(session: Session, actor: Actor, tier_id: UUID) -> TicketTier:
    """Take no new orders for a tier, and serve those in line, even if it was paused. Twice changes nothing."""
    return _regulate(session, actor, tier_id, "tier.drain", is_draining=True, is_paused=False)


def resume_tier(session: Session, actor: Actor, tier_id: UUID) -> TicketTier:
    """Take orders and serve again, beginning with who has waited longest. Resuming twice changes nothing."""
    return _regulate(session, actor, tier_id, "tier.resume", is_draining=False, is_paused=False)


def delete_tier(session: Session, actor: Actor, tier_id: UUID) -> None:
    """Remove a tier of a draft. Raises `ConflictError` once the event was published: deactivate it instead."""
    event, tier = _lock(session, actor, tier_id)
    if event.status is not EventStatus.DRAFT:
        raise ConflictError("Buyers may know this tier already: deactivate it instead.", code="event-published")
    audit.record(session, actor, "tier.delete", tier, old=as_json({"name": tier.name, "event_id": tier.event_id}))
    session.delete(tier)


def _regulate(session: Session, actor: Actor, tier_id: UUID, act: str, **flags: bool) -> TicketTier:
    event, tier = _lock(session, actor, tier_id)
    require_open(event)
    old, new = change(tier, flags)
    if new:
        audit.record(session, actor, act, tier, old=old, new=new)
    if new.get("is_paused") is False:
        announce(session, ServeTier(tier.id))
    return tier


def _lock(session: Session, actor: Actor, tier_id: UUID) -> tuple[Event, TicketTier]:
    """Lock the tier's event, which holds off its consumer, and return both as they are now."""
    event_id = session.scalar(select(TicketTier.event_id).where(TicketTier.id == tier_id))
    if event_id is None:
        raise NotFoundError("tier")
    event = lock_event(session, actor, event_id, noun="tier")
    tiers = {tier.id: tier for tier in read_tiers(session, event_id)}
    if tier_id not in tiers:
        raise NotFoundError("tier")
    return event, tiers[tier_id]


def _check(event: Event, details: TierDetails) -> None:
    if fault := find_price_fault(details.price, details.max_per_order, event.currency, terms_of(event)):
        raise InvalidError(fault, pointer="/price")
    if details.max_per_order < details.min_per_order:
        raise InvalidError("The largest order is not below the smallest.", pointer="/max_per_order")
    if details.max_per_person is not None and details.max_per_person < details.min_per_order:
        raise InvalidError("A person may buy at least the smallest order.", pointer="/max_per_person")
    starts, ends = details.sale_starts_at, details.sale_ends_at
    if starts is not None and ends is not None and ends <= starts:
        raise InvalidError("The sale must end after it starts.", pointer="/sale_ends_at")


def _check_capacity(event: Event, others: Sequence[TicketTier], quantity: int) -> None:
    left = event.capacity - committed_tickets(others)
    if quantity > left:
        raise ConflictError(
            f"The event has room for {max(left, 0)} of them.",
            code="capacity-exceeded",
            pointer="/quantity",
        )


def _is_for_money(tier: TierDetails | TicketTier) -> bool:
    return tier.is_active and tier.price > 0


def _check_seller(event: Event, platform: Platform) -> None:
    """Refuse that paid tickets go on sale; a draft is checked when it is published."""
    if not event.is_published:
        return
    if not event.promoter.is_verified:
        raise ConflictError(UNVERIFIED.detail, code="promoter-unverified", pointer=UNVERIFIED.pointer)
    if not can_be_paid(event.promoter, platform):
        raise ConflictError(ACCOUNT_MISSING.detail, code="payout-account-required", pointer=ACCOUNT_MISSING.pointer)
