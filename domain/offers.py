"""The consumer's half of the waitlist: who could be offered freed stock, and making the offer.

An offer is an ordinary order that holds stock, with a longer clock, made at the waiting entry's own place in the line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from domain.fairness import PlaceInLine, place_of
from domain.messages import NotifyOffer, announce
from domain.models import Event, Order, OrderItem, TicketTier, TimelineEntry, Waitlist
from domain.person_limits import within_limit
from domain.rules.allocation import Claim, Kind
from domain.rules.clocks import Clocks
from domain.rules.pricing import add_up, price_line
from domain.rules.states import InventoryState, OrderSource, OrderStage, OrderStatus, WaitlistStatus
from domain.terms import terms_of
from domain.tier_rows import EventRow, TierRow


def find_waiting(
    session: Session, event: EventRow, tier: TierRow, now: datetime, *, limit: int, up_to: int | None
) -> list[Claim]:
    """Return, locked and in sequence, the entries that could take something of what is available now.

    `up_to` is the last number of the line that this round looks at. When nothing can be sold any more, the entries
    are told so and none is returned.
    """
    if ended := _why_no_offers(event, tier, now):
        end_waiting(session, tier, reason=ended)
        return []
    if tier.available <= 0:
        return []
    query = (
        select(Waitlist)
        .join(TicketTier, TicketTier.id == Waitlist.tier_id)
        .where(Waitlist.tier_id == tier.id, Waitlist.status == WaitlistStatus.WAITING, within_limit())
        .order_by(Waitlist.sequence)
        .limit(limit)
        .with_for_update(key_share=True, of=Waitlist)
        .execution_options(populate_existing=True)
    )
    if event.skips_large_groups:
        query = query.where(Waitlist.quantity <= tier.available)
    if up_to is not None:
        query = query.where(Waitlist.sequence < up_to)
    claims = [
        Claim(entry.sequence, Kind.ENTRY, entry.id, entry.user_id, entry.quantity) for entry in session.scalars(query)
    ]
    return claims if event.skips_large_groups else _up_to_the_first_too_large(claims, tier.available)


def _up_to_the_first_too_large(claims: Sequence[Claim], available: int) -> list[Claim]:
    """Cut a line that may not pass over a group behind the first one that holds it."""
    first = next((place for place, claim in enumerate(claims) if claim.quantity > available), len(claims))
    return list(claims[: first + 1])


def make(
    session: Session, tier: TierRow, claims: Sequence[Claim], now: datetime, clocks: Clocks
) -> Mapping[UUID, PlaceInLine]:
    """Make the offers: an order that holds the stock at today's price, for each of these entries.

    Returns, by entry, the places in the line that these orders have.
    """
    if not claims:
        return {}
    event = session.get_one(Event, tier.event_id, populate_existing=True)
    # Nobody is to take up tickets of an event that is over.
    expires_at = min(now + timedelta(seconds=event.offer_seconds or clocks.offer_seconds), event.ends_at)
    made: dict[UUID, tuple[OrderItem, Order]] = {}
    for claim in claims:
        _, order = made[claim.id] = _hold(session, event, tier, claim, now, expires_at)
        tier.reserved += claim.quantity
        entry = session.get_one(Waitlist, claim.id)
        entry.status = WaitlistStatus.OFFERED
        entry.offered_at, entry.notified_at = now, None
        entry.offer_expires_at = expires_at
        entry.responded_at, entry.response = None, None
        entry.offered_order_id = order.id
        announce(session, NotifyOffer(entry.id))
    session.flush()
    return {entry_id: place_of(item, order) for entry_id, (item, order) in made.items()}


def _hold(
    session: Session, event: Event, tier: TierRow, claim: Claim, now: datetime, expires_at: datetime
) -> tuple[OrderItem, Order]:
    line = price_line(tier.price, claim.quantity, terms_of(event))
    order = Order(
        sequence=claim.sequence,
        user_id=claim.person,
        event_id=event.id,
        status=OrderStatus.PENDING,
        stage=OrderStage.OFFERED,
        source=OrderSource.WAITLIST,
        currency=event.currency,
        **asdict(add_up([line])),
        held_at=now,
        hold_expires_at=expires_at,
    )
    session.add(order)
    session.flush()
    item = OrderItem(
        order_id=order.id,
        user_id=order.user_id,
        tier_id=tier.id,
        sequence=claim.sequence,
        **asdict(line),
        inventory_state=InventoryState.RESERVED,
    )
    session.add_all([item, TimelineEntry(order_id=order.id, kind="offered", data={})])
    return item, order


def end_waiting(session: Session, tier: TierRow, *, reason: str) -> None:
    """End every waiting entry of the tier, and keep why nobody was offered."""
    session.execute(
        update(Waitlist)
        .where(Waitlist.tier_id == tier.id, Waitlist.status == WaitlistStatus.WAITING)
        .values(status=WaitlistStatus.EXPIRED, unoffered_reason=reason)
        .execution_options(synchronize_session=False)
    )


def _why_no_offers(event: EventRow, tier: TierRow, now: datetime) -> str | None:
    if not event.is_published:
        return f"the event is {event.status}"
    if event.ends_at <= now:
        return "the event is over"
    if not tier.is_active:
        return "the tier is no longer sold"
    if tier.sale_ends_at is not None and tier.sale_ends_at <= now:
        return "the sale has ended"
    return None
