"""How paying for an order ends: it is confirmed with its tickets, or given up. What decides is in `settlement.py`."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain import outgoing, tickets
from domain.buyers import write_to_buyer
from domain.messages import ServeTier, announce
from domain.models import Event, Order
from domain.rules.lifecycle import may_move
from domain.rules.states import InventoryState, OrderReason, OrderStage, PaymentStatus, WebhookType
from domain.transitions import close, move


def confirm(session: Session, order: Order, now: datetime) -> None:
    """Confirm a locked order that owes nothing any more: tickets, the stock's sale, and the mail, all at once."""
    move(session, order, OrderStage.ISSUING, "confirmed")
    order.payment_status = PaymentStatus.COMPLETED
    order.confirmed_at = now
    order.cancelled_at = None
    order.hold_expires_at = None
    order.reason = None
    for item in order.items:
        item.desired_state = InventoryState.SOLD
        announce(session, ServeTier(item.tier_id))
    tickets.issue(session, order, now)
    write_to_buyer(session, order, "order_confirmed")
    outgoing.tell_of_order(session, order, WebhookType.ORDER_CONFIRMED)


def settle_free(session: Session, order: Order, now: datetime) -> None:
    """Confirm a locked order that costs nothing, unless its event was cancelled meanwhile."""
    if lock_event(session, order).is_cancelled:
        end_unpaid(session, order, OrderReason.EVENT_CANCELLED, now)
    else:
        confirm(session, order, now)


def end_unpaid(session: Session, order: Order, reason: OrderReason, now: datetime) -> None:
    """End a locked order that cannot be paid any more, and tell the buyer, who may not know it yet."""
    if not may_move(order.stage, OrderStage.CLOSED):
        move(session, order, OrderStage.EXPIRING, "expiring", reason=reason)
    if reason is OrderReason.PAYMENT_FAILED:
        order.payment_status = PaymentStatus.FAILED
    close(session, order, reason, now)
    if reason is OrderReason.EVENT_CANCELLED:
        write_to_buyer(session, order, "event_cancelled")
    elif reason is not OrderReason.BUYER_CANCELLED:
        write_to_buyer(session, order, "order_cancelled")


def lock_event(session: Session, order: Order) -> Event:
    """Return the order's event, which cannot be cancelled before this transaction ends."""
    return session.scalars(
        select(Event)
        .where(Event.id == order.event_id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    ).one()
