"""Attempts to charge: finding and opening them, and taking in what the provider says of them.

All of it happens under the order's row lock. What a reading means for the order is in `settlement.py`.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, select
from sqlalchemy.orm import Session

from domain.errors import VendorError
from domain.models import Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.payments.pauses import spread
from domain.ports import STORED_ERROR, Intent
from domain.rules.states import AttemptKind, AttemptStatus
from domain.transitions import lock_order

KEY_LIFE = timedelta(hours=23)
"""Stripe may forget an idempotency key after 24 hours (docs.stripe.com/api/idempotent_requests)."""

FIRST_PAUSE = timedelta(seconds=4)
"""However young an attempt is: what failed at once, with nothing to spread, would come back at once."""

STATUSES = {
    "requires_payment_method": AttemptStatus.REQUIRES_PAYMENT_METHOD,
    "requires_confirmation": AttemptStatus.REQUIRES_PAYMENT_METHOD,
    "requires_action": AttemptStatus.REQUIRES_ACTION,
    "processing": AttemptStatus.PROCESSING,
    # We never ask for manual capture, so whoever captures is not us: wait for it.
    "requires_capture": AttemptStatus.PROCESSING,
    "succeeded": AttemptStatus.SUCCEEDED,
    "canceled": AttemptStatus.CANCELLED,
}
"""docs.stripe.com/payments/paymentintents/lifecycle, in our words."""


def live_charge(session: Session, order_id: UUID) -> PaymentTransaction | None:
    """Return the order's charge whose outcome is still to come: there is one at most."""
    return session.scalar(
        _charges(order_id).where(PaymentTransaction.status.in_(OPEN_STATUSES)).execution_options(populate_existing=True)
    )


def captured_charges(session: Session, order_id: UUID) -> list[PaymentTransaction]:
    """Return the order's charges that brought money: one, unless a payment came after the end."""
    return list(session.scalars(_charges(order_id).where(PaymentTransaction.status == AttemptStatus.SUCCEEDED)))


def find_charge(session: Session, intent_id: str | None) -> PaymentTransaction | None:
    """Return the charge that opened an intent of the provider's; None if it is not ours, or not recorded yet."""
    return session.scalar(
        select(PaymentTransaction).where(
            PaymentTransaction.provider_transaction_id == intent_id, PaymentTransaction.kind == AttemptKind.CHARGE
        )
    )


def lock(session: Session, attempt_id: UUID) -> tuple[Order, PaymentTransaction]:
    """Lock the order of an attempt, and return both as they are now."""
    order = lock_order(session, session.get_one(PaymentTransaction, attempt_id).order_id)
    assert order is not None, "orders are never deleted"
    return order, session.get_one(PaymentTransaction, attempt_id, populate_existing=True)


def open_charge(session: Session, order: Order, account_id: str | None, now: datetime) -> PaymentTransaction:
    """Return the attempt to open an intent with: the live one, to be repeated with its key, or a new one.

    Nobody has the client secret of an intent whose opening was never recorded, so it cannot be paid: leaving it
    behind for a new attempt risks no second charge.
    """
    attempt = live_charge(session, order.id)
    if attempt is not None and _is_spent(attempt, now):
        attempt.status = AttemptStatus.FAILED
        session.flush()
        attempt = None
    if attempt is None:
        number = 1 + (session.scalar(select(func.count()).select_from(_charges(order.id).subquery())) or 0)
        attempt = PaymentTransaction(
            order_id=order.id,
            kind=AttemptKind.CHARGE,
            attempt=number,
            provider_account_id=account_id,
            amount=order.total,
            currency=order.currency,
            status=AttemptStatus.CREATED,
            idempotency_key=f"order:{order.id}:open:{number}",
            called_at=now,
        )
        session.add(attempt)
    touch(attempt)
    session.flush()
    return attempt


def _is_spent(attempt: PaymentTransaction, now: datetime) -> bool:
    """Tell whether repeating the attempt's key has no more to say."""
    assert attempt.called_at is not None, "it is written with the attempt"
    return attempt.error_code == STORED_ERROR or now - attempt.called_at > KEY_LIFE


def identify(attempt: PaymentTransaction, intent: Intent) -> None:
    """Bind an attempt to the intent that was opened for it; from now on only this one is believed."""
    attempt.provider_transaction_id = intent.id
    attempt.raw_reference = {"livemode": intent.livemode}
    attempt.status = AttemptStatus.REQUIRES_PAYMENT_METHOD
    attempt.error_code = attempt.error_message = None


def record(attempt: PaymentTransaction, intent: Intent) -> bool:
    """Write down what the provider says of an attempt; tell whether it said so before."""
    reference = {
        "intent": intent.id,
        "status": intent.status,
        "charge": intent.charge_id,
        "error": intent.error_code,
        "livemode": intent.livemode,
    }
    is_known = attempt.raw_reference == reference
    attempt.status = STATUSES.get(intent.status, AttemptStatus.UNKNOWN)
    attempt.raw_reference = reference
    # An intent that was never tried keeps what we know ourselves, such as a payment method that does not exist.
    if intent.error_code or attempt.status is not AttemptStatus.REQUIRES_PAYMENT_METHOD:
        attempt.error_code = intent.error_code
        attempt.error_message = intent.error_message
    attempt.next_action = dict(intent.next_action) if intent.next_action else None
    return is_known


def differences(attempt: PaymentTransaction, intent: Intent) -> list[str]:
    """Name what an intent has otherwise than our attempt, metadata aside: that authorises nothing."""
    ours = {
        "id": (attempt.provider_transaction_id, intent.id),
        "account": (attempt.provider_account_id, intent.account_id),
        "livemode": ((attempt.raw_reference or {}).get("livemode"), intent.livemode),
        "amount": (attempt.amount, intent.amount),
        "currency": (attempt.currency, intent.currency.upper()),
    }
    if intent.status == "succeeded":
        ours["amount_received"] = (attempt.amount, intent.amount_received)
    return [name for name, (expected, found) in ours.items() if expected != found]


def note(attempt: PaymentTransaction, error: VendorError) -> None:
    """Keep what the provider's failure said."""
    attempt.error_code = error.code
    attempt.error_message = error.message
    touch(attempt)


def touch(attempt: PaymentTransaction) -> None:
    """Say that the attempt was looked at, so that the next look is somebody else's."""
    attempt.updated_at = func.now()


def due(longest: timedelta) -> ColumnElement[datetime]:
    """Return when an attempt should be looked at again: each pause about as long as it is old, up to `longest`."""
    age = PaymentTransaction.updated_at - PaymentTransaction.created_at
    pause = func.least(literal(longest), func.greatest(literal(FIRST_PAUSE), age))
    return PaymentTransaction.updated_at + spread(pause, PaymentTransaction.id, PaymentTransaction.updated_at)


def _charges(order_id: UUID) -> Select[PaymentTransaction]:
    return select(PaymentTransaction).where(
        PaymentTransaction.order_id == order_id, PaymentTransaction.kind == AttemptKind.CHARGE
    )
