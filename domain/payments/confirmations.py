"""Paying an order whose intent is open, as its buyer asked.

Each step is read and mark, call with a deterministic key, record; no transaction spans a call. What a provider's
answer means for the order is in `settlement.py`.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from domain import audit
from domain.audit import Actor
from domain.errors import ConflictError, RetryableVendorError, UnknownOutcomeError, VendorError
from domain.messages import ConfirmPayment, SettlePayment, announce
from domain.models import Order, PaymentTransaction
from domain.orders import lock_for_buyer
from domain.payments import attempts, settlement
from domain.ports import STORED_ERROR, UNEXPECTED_STATE, Intent, PaymentGateway
from domain.rules.clocks import Clocks
from domain.rules.lifecycle import PAYABLE
from domain.rules.states import AttemptStatus, OrderStage
from domain.transitions import lock_order, move, write


def request_confirmation(
    session: Session, order_id: UUID, buyer: Actor, payment_method: str, now: datetime, clocks: Clocks
) -> None:
    """Ask for the intent of a buyer's order to be confirmed with their payment method, in the caller's transaction.

    The first start of a payment extends the hold once, bounded. Raises `NotFoundError` for anybody else's order,
    `ConflictError` with `payment-in-progress` while an earlier request runs, `payment-not-ready` before there is an
    intent, `hold-expired`, or `not-payable`.
    """
    order = lock_for_buyer(session, order_id, buyer.user_id)
    attempt = attempts.live_charge(session, order.id)
    _check_payable(order, attempt, now)
    assert attempt is not None
    attempt.payment_method = payment_method
    attempt.confirmations += 1
    attempt.confirm_due = True
    attempt.error_code = attempt.error_message = attempt.next_action = None
    move(session, order, OrderStage.PROCESSING, "payment_started")
    _extend_hold(session, order, clocks)
    audit.record(session, buyer, "order.confirm", order)
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
