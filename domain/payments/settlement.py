"""What a reading of an intent means for its order: the only place that believes money.

A reading is applied under the order's row lock, and only forward: what ended has ended, in whatever order readings
come. Readings are taken by whoever calls the provider, and by `reconciliation.py` and `events.py`.
"""

import logging
from datetime import datetime

from sqlalchemy.orm import Session

from domain.buyers import tell_buyer
from domain.models import Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.payments import attempts, late_payments, ledger, outcomes
from domain.ports import Intent
from domain.rules.lifecycle import PAYABLE, sources_of
from domain.rules.states import AttemptStatus, LedgerKind, OrderReason, OrderStage
from domain.transitions import move

log = logging.getLogger(__name__)

CONFIRMABLE = sources_of(OrderStage.ISSUING) - {OrderStage.CLOSED}
"""Stages that still keep the stock which a payment buys."""


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


def _take_money(session: Session, order: Order, attempt: PaymentTransaction, intent: Intent, now: datetime) -> None:
    attempt.confirm_due = False
    _book(session, order, attempt, intent)
    if order.stage not in CONFIRMABLE:
        late_payments.take(session, order, attempt, now)
    elif outcomes.lock_event(session, order).is_cancelled:
        outcomes.end_unpaid(session, order, OrderReason.EVENT_CANCELLED, now)
        late_payments.take(session, order, attempt, now)
    else:
        order.stripe_charge_id = intent.charge_id
        outcomes.confirm(session, order, now)


def _book(session: Session, order: Order, attempt: PaymentTransaction, intent: Intent) -> None:
    movements = {LedgerKind.CHARGE: attempt.amount, LedgerKind.FEE: -(order.fees + order.absorbed_fees)}
    ledger.book(session, attempt, movements, intent.charge_id or intent.id)


def _take_cancellation(
    session: Session, order: Order, attempt: PaymentTransaction, now: datetime, *, is_current: bool
) -> None:
    attempt.confirm_due = False
    if order.stage is OrderStage.EXPIRING:
        outcomes.end_unpaid(session, order, order.reason or OrderReason.HOLD_EXPIRED, now)
    elif is_current and order.stage in PAYABLE:
        # Not by us: in the provider's dashboard, or because the intent grew too old.
        outcomes.end_unpaid(session, order, OrderReason.PAYMENT_FAILED, now)


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
