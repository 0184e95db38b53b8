"""Reading payments anew, so that none depends on a message or a webhook having arrived.

What a reading means for its order is in `settlement.py`.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session, sessionmaker

from domain.errors import VendorError
from domain.messages import CancelPayment, ConfirmPayment, Message, OpenPayment, SettlePayment, announce
from domain.models import Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.payments import attempts, settlement
from domain.ports import Intent, PaymentGateway
from domain.rules.lifecycle import PAYABLE
from domain.rules.states import AttemptKind, OrderStage

LOOK_PAUSE = timedelta(seconds=5)
"""An intent that was looked at more recently is left to its webhook."""
RECONCILE_LIMIT = 200
LONGEST_PAUSE = timedelta(seconds=15)
"""A buyer's clock runs, so what failed is tried again soon."""
STALLED_LIMIT = 500


def settle_payment(sessions: sessionmaker[Session], gateway: PaymentGateway, order_id: UUID, now: datetime) -> None:
    """Read the order's open intent and apply what it says.

    An intent that nobody wants any more, because its order ended otherwise, is rung to be cancelled.
    """
    with sessions.begin() as session:
        attempt = attempts.live_charge(session, order_id)
        if attempt is None or attempt.provider_transaction_id is None:
            return
        attempt_id, intent_id = attempt.id, attempt.provider_transaction_id
    try:
        answer: Intent | VendorError = gateway.find_intent(intent_id)
    except VendorError as error:
        answer = error
    with sessions.begin() as session:
        order, attempt = attempts.lock(session, attempt_id)
        if isinstance(answer, VendorError):
            attempts.touch(attempt)
            return
        settlement.apply_reading(session, order, attempt, answer, now)
        if attempt.status in OPEN_STATUSES and not settlement.is_wanted(order, attempt):
            announce(session, CancelPayment(order.id), order.request_id)


def reconcile(session: Session, now: datetime, limit: int = RECONCILE_LIMIT) -> int:
    """Ring for the open intents that were not looked at for a while, the longest first, to be read; return how many.

    With this nothing depends on any webhook. Ringing counts as a look, so that none is rung again at once.
    """
    # What is to be confirmed is rung by `stalled`, which a look from here would only put off.
    is_driven = and_(PaymentTransaction.confirm_due, Order.stage.in_(PAYABLE))
    waiting = session.execute(
        select(PaymentTransaction.id, PaymentTransaction.order_id)
        .join(Order, Order.id == PaymentTransaction.order_id)
        .where(PaymentTransaction.kind == AttemptKind.CHARGE, PaymentTransaction.status.in_(OPEN_STATUSES))
        .where(PaymentTransaction.provider_transaction_id.is_not(None), ~is_driven)
        .where(PaymentTransaction.updated_at < now - LOOK_PAUSE)
        .order_by(PaymentTransaction.updated_at)
        .limit(limit)
        .with_for_update(of=PaymentTransaction, skip_locked=True)
    ).all()
    session.execute(
        update(PaymentTransaction)
        .where(PaymentTransaction.id.in_([attempt_id for attempt_id, _ in waiting]))
        .values(updated_at=func.now())
        .execution_options(synchronize_session=False)
    )
    for _, order_id in waiting:
        announce(session, SettlePayment(order_id))
    return len(waiting)


_STANDING = (OrderStage.HELD, OrderStage.PAYMENT_DELAYED, OrderStage.PROCESSING, OrderStage.EXPIRING)


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for orders that stand between two steps of their payment since `before`."""
    live = and_(
        PaymentTransaction.order_id == Order.id,
        PaymentTransaction.kind == AttemptKind.CHARGE,
        PaymentTransaction.status.in_(OPEN_STATUSES),
    )
    rows = session.execute(
        select(Order.id, Order.stage, Order.stripe_payment_intent_id, PaymentTransaction.confirm_due)
        .outerjoin(PaymentTransaction, live)
        .where(Order.stage.in_(_STANDING), Order.updated_at < before)
        .where(or_(PaymentTransaction.id.is_(None), attempts.due(LONGEST_PAUSE) < before))
        .order_by(Order.updated_at)
        .limit(STALLED_LIMIT)
    )
    return [_ring(*row) for row in rows]


def _ring(order_id: UUID, stage: OrderStage, intent_id: str | None, confirm_due: bool | None) -> Message:
    if stage is OrderStage.EXPIRING:
        return CancelPayment(order_id)
    if intent_id is None:
        return OpenPayment(order_id)
    return ConfirmPayment(order_id) if confirm_due else SettlePayment(order_id)
