"""Putting right what can be derived: never a counter, which is its consumer's alone, but a wish for one, or a ring.

Each looks again under the lock, since it may have been put right meanwhile, and tells whether it did anything.
"""

from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from domain import code_counters
from domain.buyers import write_to_buyer
from domain.messages import RenderTickets, ServeTier, announce
from domain.models import OrderItem, TicketTier
from domain.payments import ledger
from domain.rules.lifecycle import CONFIRMED
from domain.rules.states import InventoryState, OrderStage
from domain.transitions import lock_order


def recount(session: Session, tier_id: UUID) -> bool:
    """Ask the tier's consumer to count its rows again."""
    session.execute(update(TicketTier).where(TicketTier.id == tier_id).values(recount_due=True))
    return ring_tier(session, tier_id)


def recount_code(session: Session, code_id: UUID) -> bool:
    """Count again what was taken with a code, under the lock that its tiers' consumers take."""
    code_counters.recount(session, code_id)
    return True


def ring_tier(session: Session, tier_id: UUID) -> bool:
    """Ring the tier's consumer, whose message may have got lost."""
    announce(session, ServeTier(tier_id))
    return True


def ring_for_item(session: Session, item_id: UUID) -> bool:
    """Ring the consumer of an item's tier."""
    return ring_tier(session, session.get_one(OrderItem, item_id).tier_id)


def settle_item(session: Session, item_id: UUID) -> bool:
    """Ask for the state that an item's order implies: sold where it is confirmed, released where it has ended."""
    order = lock_order(session, session.get_one(OrderItem, item_id).order_id)
    assert order is not None, "orders are never deleted"
    item = next(item for item in order.items if item.id == item_id)
    has_ended = order.stage is OrderStage.CLOSED and order.hold_expires_at is None
    if item.desired_state is None and order.stage in CONFIRMED and item.inventory_state is InventoryState.RESERVED:
        item.desired_state = InventoryState.SOLD
    elif has_ended and item.inventory_state in {InventoryState.QUEUED, InventoryState.RESERVED}:
        item.desired_state = InventoryState.RELEASED
    else:
        return False
    return ring_tier(session, item.tier_id)


def ring_for_pictures(session: Session, order_id: UUID) -> bool:
    """Ring for the pictures of an order's tickets."""
    announce(session, RenderTickets(order_id))
    return True


def write_confirmation(session: Session, order_id: UUID) -> bool:
    """Write the confirmation of an order that still has tickets into the outbox."""
    order = lock_order(session, order_id)
    if order is None or order.stage not in CONFIRMED:
        return False
    write_to_buyer(session, order, "order_confirmed")
    return True


def count_refunded(session: Session, order_id: UUID) -> bool:
    """Derive anew from the ledger what of an order went back."""
    order = lock_order(session, order_id)
    if order is None:
        return False
    ledger.count(session, order)
    return True
