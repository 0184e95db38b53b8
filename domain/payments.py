"""A charge as we drive it once its intent is open: confirming it for the buyer, cancelling it, ringing what stalled.

Each step is read and mark, call with a deterministic key, record; no transaction spans a call. What a provider's
answer means for the order is in `settlement.py`.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session, sessionmaker

from domain import attempts, payment_events, settlement
from domain.errors import ConflictError, RetryableVendorError, UnknownOutcomeError, VendorError
from domain.messages import CancelPayment, ConfirmPayment, Message, OpenPayment, SettlePayment, announce
from domain.models import Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.ports import STORED_ERROR, UNEXPECTED_STATE, Intent, PaymentGateway
from domain.rules.clocks import Clocks
from domain.rules.lifecycle import PAYABLE
from domain.rules.states import AttemptKind, AttemptStatus, OrderReason, OrderStage
from domain.transitions import lock_order, move, write

LONGEST_PAUSE = timedelta(seconds=15)
"""A buyer's clock runs, so what failed is tried again soon."""
STALLED_LIMIT = 500


def request_confirmation(session: Session, order: Order, payment_method: str, now: datetime, clocks: Clocks) -> None:
    """Ask for the order's intent to be confirmed with the buyer's payment method, inside the caller's transaction.

    The first start of a payment extends the hold once, bounded. Raises `ConflictError` with `payment-in-progress`
    while an earlier request runs, `payment-not-ready` before there is an intent, `hold-expired`, or `not-payable`.
    """
    locked = lock_order(session, order.id)
    assert locked is not None, "orders are never deleted"
    attempt = attempts.live_charge(session, order.id)
    _check_payable(locked, attempt, now)
    assert attempt is not None
    attempt.payment_method = payment_method
    attempt.confirmations += 1
    attempt.confirm_due = True
    attempt.error_code = attempt.error_message = attempt.next_action = None
    move(session, locked, OrderStage.PROCESSING, "payment_started")
    _extend_hold(session, locked, clocks)
    announce(session, ConfirmPayment(order.id), order.request_id)


def _check_payable(order: Order, attempt: PaymentTransaction | None, now: datetime) -> None:
    if order.stage is OrderStage.PROCESSING or (attempt is not None and attempt.confirm_due):
        raise ConflictError("A payment of this order is being processed.", code="payment-in-progress")
    if order.stage is OrderStage.HELD or (order.stage in PAYABLE and order.stripe_payment_intent_id is None):
        raise ConflictError("The payment is being prepared; try again in a moment.", code="payment-not-ready")
    if order.stage not in PAYABLE or attempt is None:
        raise ConflictError("This order cannot be paid now.", code="not-payable")
    if order.hold_expires_at is not None and order.hold_expires_at <= now:
        raise ConflictError("The time to pay for this order has run out.", code="hold-expired")


def _extend_hold(session: Session, order: Order, clocks: Clocks) -> None:
    if order.hold_extended or order.hold_expires_at is None:
        return
    extended = order.hold_expires_at + timedelta(seconds=clocks.hold_extension_seconds)
    order.hold_expires_at = max(order.hold_expires_at, min(extended, order.hold_limit_at or extended))
    order.hold_extended = True
    write(session, order, "hold_extended", expires_at=order.hold_expires_at.isoformat())


def confirm_payment(sessions: sessionmaker[Session], gateway: PaymentGateway, order_id: UUID, now: datetime) -> None:
    """Confirm the intent as the buyer asked, and apply what the provider answers.

    A provider in trouble leaves the order `payment_delayed`, and an unknown outcome is repeated with its key.
    """
    with sessions.begin() as session:
        due = _due_confirmation(session, order_id)
        if due is None:
            return
        _, attempt = due
        attempts.touch(attempt)
        intent_id, method, number = (
            attempt.provider_transaction_id or "",
            attempt.payment_method or "",
            attempt.confirmations,
        )
        key, attempt_id = f"order:{order_id}:confirm:{attempt.attempt}:{number}", attempt.id
    try:
        answer: Intent | VendorError = gateway.confirm_intent(intent_id, method, key)
    except VendorError as error:
        answer = error
    with sessions.begin() as session:
        due = _due_confirmation(session, order_id)
        if due is None:
            return
        order, attempt = due
        if (attempt.id, attempt.confirmations) != (attempt_id, number):
            # Somebody else recorded this confirmation, and the buyer has started another one.
            return
        if isinstance(answer, VendorError):
            _record_trouble_confirming(session, order, attempt, answer)
        else:
            attempt.confirm_due = False
            settlement.apply_reading(session, order, attempt, answer, now)


def _due_confirmation(session: Session, order_id: UUID) -> tuple[Order, PaymentTransaction] | None:
    """Lock the order and return it with its charge that waits to be confirmed; None once it cannot be paid."""
    order = lock_order(session, order_id)
    if order is None or order.stage not in PAYABLE:
        return None
    attempt = attempts.live_charge(session, order_id)
    is_due = attempt is not None and attempt.confirm_due and attempt.provider_transaction_id is not None
    return (order, attempt) if attempt is not None and is_due else None


def _record_trouble_confirming(session: Session, order: Order, attempt: PaymentTransaction, error: VendorError) -> None:
    attempts.note(attempt, error)
    was_unknown = attempt.status is AttemptStatus.UNKNOWN
    if isinstance(error, RetryableVendorError) and error.code != UNEXPECTED_STATE:
        if isinstance(error, UnknownOutcomeError):
            attempt.status = AttemptStatus.UNKNOWN
            # A new key is safe: an intent succeeds once, however often it is confirmed.
            attempt.confirmations += error.code == STORED_ERROR
        if order.stage is not OrderStage.PAYMENT_DELAYED:
            move(session, order, OrderStage.PAYMENT_DELAYED, "payment_delayed")
        return
    attempt.confirm_due = False
    if was_unknown or error.code == UNEXPECTED_STATE:
        # An earlier try, or the buyer's own client, may be the reason of this refusal: only a reading can tell.
        announce(session, SettlePayment(order.id), order.request_id)
    else:
        move(session, order, OrderStage.AWAITING_PAYMENT, "payment_failed", code=error.code, message=error.message)


def cancel_payment(sessions: sessionmaker[Session], gateway: PaymentGateway, order_id: UUID, now: datetime) -> None:
    """Cancel the intent of an order that is ending or has ended; the order closes, or is confirmed if it was paid.

    While the provider cannot be reached the order keeps its stock, until its clock runs out.
    """
    with sessions.begin() as session:
        intended = _prepare_cancelling(session, order_id, now)
    if intended is None:
        return
    attempt_id, intent_id = intended
    try:
        answer: Intent | VendorError = gateway.cancel_intent(intent_id)
    except VendorError as error:
        answer = error
    with sessions.begin() as session:
        order, attempt = attempts.lock(session, attempt_id)
        if isinstance(answer, Intent):
            settlement.apply_reading(session, order, attempt, answer, now)
        else:
            attempts.note(attempt, answer)


def _prepare_cancelling(session: Session, order_id: UUID, now: datetime) -> tuple[UUID, str] | None:
    order = lock_order(session, order_id)
    attempt = attempts.live_charge(session, order_id)
    if order is None or (attempt is not None and settlement.is_wanted(order, attempt)):
        return None
    if attempt is not None and attempt.provider_transaction_id is not None:
        # The answer to a confirmation under way does not matter any more: the intent itself is asked.
        attempt.confirm_due = False
        attempts.touch(attempt)
        return attempt.id, attempt.provider_transaction_id
    if attempt is not None:
        # Nobody has its client secret, so it cannot be paid. Should its opening end after all, it is cancelled then.
        attempt.status = AttemptStatus.CANCELLED
    if order.stage is OrderStage.EXPIRING:
        settlement.end_unpaid(session, order, order.reason or OrderReason.HOLD_EXPIRED, now)
    return None


_STANDING = (OrderStage.HELD, OrderStage.PAYMENT_DELAYED, OrderStage.PROCESSING, OrderStage.EXPIRING)


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for orders that stand between two steps of their payment since `before`, and for events."""
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
    return [*(_ring(*row) for row in rows), *payment_events.stalled(session, before)]


def _ring(order_id: UUID, stage: OrderStage, intent_id: str | None, confirm_due: bool | None) -> Message:
    if stage is OrderStage.EXPIRING:
        return CancelPayment(order_id)
    if intent_id is None:
        return OpenPayment(order_id)
    return ConfirmPayment(order_id) if confirm_due else SettlePayment(order_id)
