"""Payments that succeed after their order has ended: it gets its stock again, or the buyer the money.

The order stays closed while its tiers are asked, with a clock: a tier that does not answer in time has none.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from domain.buyers import tell_buyer
from domain.messages import ConcludeLatePayment, Message, ServeTier, announce
from domain.models import Order, PaymentTransaction
from domain.payments import attempts, outcomes, refunds
from domain.rules.lifecycle import CONFIRMED
from domain.rules.states import InventoryState, OrderReason, OrderStage, PaymentStatus
from domain.transitions import lock_order, release

LAPSED = frozenset({OrderReason.HOLD_EXPIRED, OrderReason.PAYMENT_FAILED})
"""Ends that a buyer who has paid after all did not want."""
ANSWER_LIMIT = timedelta(minutes=2)
STALLED_LIMIT = 500


def take(session: Session, order: Order, charge: PaymentTransaction, now: datetime) -> None:
    """Answer a charge of a locked order that has ended: ask its tiers for the stock again, or give the money back."""
    if order.stage not in CONFIRMED:
        order.payment_status = PaymentStatus.COMPLETED
    tell_buyer(session, order, "late_payment", amount=charge.amount, currency=charge.currency)
    if _may_be_revived(session, order, charge):
        _ask_again(session, order, now)
    else:
        refunds.give_back(session, order, charge, refunds.LATE_PAYMENT, now)


def _may_be_revived(session: Session, order: Order, charge: PaymentTransaction) -> bool:
    if order.stage is not OrderStage.CLOSED or order.reason not in LAPSED:
        return False
    is_its_only_one = attempts.captured_charges(session, order.id) == [charge]
    return is_its_only_one and outcomes.lock_event(session, order).is_published


def _ask_again(session: Session, order: Order, now: datetime) -> None:
    order.hold_expires_at = now + ANSWER_LIMIT
    for item in order.items:
        item.desired_state = InventoryState.RESERVED
        announce(session, ServeTier(item.tier_id))


def conclude(sessions: sessionmaker[Session], order_id: UUID, now: datetime) -> None:
    """Confirm an order whose tiers have all found its stock again; once one has not, give the money back."""
    with sessions.begin() as session:
        order = lock_order(session, order_id)
        if order is None or not _is_being_revived(order):
            return
        if any(item.desired_state is not None for item in order.items):
            return
        has_all = all(item.inventory_state is InventoryState.RESERVED for item in order.items)
        # A dispute may have taken the money meanwhile, or somebody have asked for it.
        is_paid = any(refunds.refundable(session, charge) for charge in attempts.captured_charges(session, order.id))
        if has_all and is_paid and outcomes.lock_event(session, order).is_published:
            outcomes.confirm(session, order, now)
        else:
            give_up(session, order, now)


def _is_being_revived(order: Order) -> bool:
    return order.stage is OrderStage.CLOSED and order.hold_expires_at is not None


def give_up(session: Session, order: Order, now: datetime) -> None:
    """Let a locked order that was being revived stay closed; what it got back goes, and so does the money."""
    order.hold_expires_at = None
    for item in order.items:
        item.desired_state = None
    release(session, order)
    for charge in attempts.captured_charges(session, order.id):
        refunds.give_back(session, order, charge, refunds.LATE_PAYMENT, now)


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for orders whose tiers may have answered without anybody hearing."""
    waiting = session.scalars(
        select(Order.id)
        .where(Order.stage == OrderStage.CLOSED, Order.hold_expires_at.is_not(None), Order.updated_at < before)
        .order_by(Order.hold_expires_at)
        .limit(STALLED_LIMIT)
    )
    return [ConcludeLatePayment(order_id) for order_id in waiting]
