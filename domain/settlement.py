"""What a reading of an intent means for its order: the only place that believes money.

A reading is applied under the order's row lock, and only forward: what ended has ended, in whatever order readings
come. Readings are taken here, by `payments.py` as the answers to its calls, and by `payment_events.py`.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from domain import attempts, ledger, refunds, tickets
from domain.buyers import tell_buyer, write_to_buyer
from domain.errors import VendorError
from domain.messages import CancelPayment, ServeTier, SettlePayment, announce
from domain.models import Event, Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.ports import Intent, PaymentGateway
from domain.rules.lifecycle import CONFIRMED, PAYABLE, may_move, sources_of
from domain.rules.states import (
    AttemptKind,
    AttemptStatus,
    InventoryState,
    LedgerKind,
    OrderReason,
    OrderStage,
    PaymentStatus,
)
from domain.transitions import close, move

log = logging.getLogger(__name__)

CONFIRMABLE = sources_of(OrderStage.ISSUING) - {OrderStage.CLOSED}
"""Stages that still keep the stock which a payment buys."""

LOOK_PAUSE = timedelta(seconds=5)
"""An intent that was looked at more recently is left to its webhook."""
RECONCILE_LIMIT = 200


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
        apply_reading(session, order, attempt, answer, now)
        if attempt.status in OPEN_STATUSES and not is_wanted(order, attempt):
            announce(session, CancelPayment(order.id), order.request_id)


def reconcile(session: Session, now: datetime, limit: int = RECONCILE_LIMIT) -> int:
    """Ring for the open intents that were not looked at for a while, the longest first, to be read; return how many.

    With this nothing depends on any webhook. Ringing counts as a look, so that none is rung again at once.
    """
    # What is to be confirmed is rung by `payments.stalled`, which a look from here would only put off.
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


def is_wanted(order: Order, attempt: PaymentTransaction) -> bool:
    """Tell whether this charge is the one by which the order is to be paid."""
    is_its_own = attempt.provider_transaction_id == order.stripe_payment_intent_id
    return is_its_own and (order.stage in PAYABLE or order.stage is OrderStage.HELD)


def apply_reading(session: Session, order: Order, attempt: PaymentTransaction, intent: Intent, now: datetime) -> None:
    """Bring a locked order to where this reading of its intent says it is.

    A reading that is not of exactly what we asked for is believed in nothing: it is kept for a person.
    """
    attempts.touch(attempt)
    if attempt.status not in OPEN_STATUSES:
        return
    if differing := attempts.differences(attempt, intent):
        _distrust(attempt, intent, differing)
        return
    status = attempts.STATUSES.get(intent.status)
    if attempt.confirm_due and status not in {AttemptStatus.SUCCEEDED, AttemptStatus.CANCELLED}:
        # Our own request to confirm is under way; what was read may be older than its answer.
        return
    is_known = attempts.record(attempt, intent)
    is_current = intent.id == order.stripe_payment_intent_id
    if attempt.status is AttemptStatus.SUCCEEDED:
        _take_money(session, order, attempt, intent, now)
    elif attempt.status is AttemptStatus.CANCELLED:
        _take_cancellation(session, order, attempt, now, is_current=is_current)
    elif is_current:
        _follow(session, order, attempt, is_known=is_known)


def confirm(session: Session, order: Order, now: datetime) -> None:
    """Confirm a locked order that owes nothing any more: tickets, the stock's sale, and the mail, all at once."""
    move(session, order, OrderStage.ISSUING, "confirmed")
    order.payment_status = PaymentStatus.COMPLETED
    order.confirmed_at = now
    order.hold_expires_at = None
    order.reason = None
    for item in order.items:
        item.desired_state = InventoryState.SOLD
        announce(session, ServeTier(item.tier_id))
    tickets.issue(session, order, now)
    write_to_buyer(session, order, "order_confirmed")


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
    close(session, order, reason, now)
    if reason is OrderReason.PAYMENT_FAILED:
        order.payment_status = PaymentStatus.FAILED
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


def _take_money(session: Session, order: Order, attempt: PaymentTransaction, intent: Intent, now: datetime) -> None:
    attempt.confirm_due = False
    _book(session, order, attempt, intent)
    is_wanted = order.stage in CONFIRMABLE and not lock_event(session, order).is_cancelled
    if is_wanted:
        order.stripe_charge_id = intent.charge_id
        confirm(session, order, now)
    else:
        _take_late_money(session, order, attempt, now)


def _book(session: Session, order: Order, attempt: PaymentTransaction, intent: Intent) -> None:
    movements = {LedgerKind.CHARGE: attempt.amount, LedgerKind.FEE: -(order.fees + order.absorbed_fees)}
    ledger.book(session, attempt, movements, intent.charge_id or intent.id)


def _take_late_money(session: Session, order: Order, attempt: PaymentTransaction, now: datetime) -> None:
    """Answer a payment that came after the end: it goes back by itself."""
    if order.stage in CONFIRMABLE:
        end_unpaid(session, order, OrderReason.EVENT_CANCELLED, now)
    if order.stage not in CONFIRMED:
        order.payment_status = PaymentStatus.COMPLETED
    tell_buyer(session, order, "late_payment", amount=attempt.amount, currency=attempt.currency)
    refunds.give_back(session, order, attempt, refunds.LATE_PAYMENT, now)


def _take_cancellation(
    session: Session, order: Order, attempt: PaymentTransaction, now: datetime, *, is_current: bool
) -> None:
    attempt.confirm_due = False
    if order.stage is OrderStage.EXPIRING:
        end_unpaid(session, order, order.reason or OrderReason.HOLD_EXPIRED, now)
    elif is_current and order.stage in PAYABLE:
        # Not by us: in the provider's dashboard, or because the intent grew too old.
        end_unpaid(session, order, OrderReason.PAYMENT_FAILED, now)


def _follow(session: Session, order: Order, attempt: PaymentTransaction, *, is_known: bool) -> None:
    """Show the buyer an open intent's state; a declined attempt is not the end while the hold lasts."""
    if order.stage not in PAYABLE:
        return
    if attempt.status is AttemptStatus.PROCESSING:
        if order.stage is not OrderStage.PROCESSING:
            move(session, order, OrderStage.PROCESSING, "payment_started")
        return
    kind, data = "payment_opened", {}
    if attempt.status is AttemptStatus.REQUIRES_ACTION:
        kind = "payment_action_required"
    elif attempt.has_error:
        kind, data = "payment_failed", {"code": attempt.error_code, "message": attempt.error_message}
    if order.stage is not OrderStage.AWAITING_PAYMENT:
        move(session, order, OrderStage.AWAITING_PAYMENT, kind, **data)
    elif not is_known and kind != "payment_opened":
        tell_buyer(session, order, kind, **data)


def _distrust(attempt: PaymentTransaction, intent: Intent, differing: list[str]) -> None:
    attempt.error_code = "mismatch"
    attempt.error_message = f"The provider's {', '.join(differing)} is not what we asked for."
    log.error("payment.mismatch attempt=%s intent=%s differing=%s", attempt.id, intent.id, differing)
