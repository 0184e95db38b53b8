"""Opening the payment of a held order: its intent at the provider, and the buyer's clock.

Read and mark, call with a deterministic key, record: no transaction spans the call. What happens to the intent
afterwards is in `confirmations.py` and `cancellations.py`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, sessionmaker

from domain.errors import PermanentVendorError, UnknownOutcomeError, VendorError
from domain.messages import CancelPayment, ReadAccount, announce
from domain.models import Event, Order, PaymentTransaction, Promoter
from domain.models.payments import OPEN_STATUSES
from domain.payments import attempts, outcomes, settlement
from domain.ports import Destination, Intent, IntentRequest, PaymentGateway
from domain.rules.clocks import Clocks
from domain.rules.states import AttemptStatus, OrderReason, OrderStage, StripeAccountState
from domain.transitions import lock_order, move

ACCOUNT_REFUSALS = frozenset({"insufficient_capabilities_for_transfer", "account_invalid"})
"""The promoter's account has stopped taking money, and we have not heard of it yet."""


@dataclass(frozen=True, slots=True)
class _Opening:
    attempt_id: UUID
    key: str
    request: IntentRequest


def open_payment(
    sessions: sessionmaker[Session], gateway: PaymentGateway, order_id: UUID, now: datetime, clocks: Clocks
) -> None:
    """Open the intent of a held order and start the buyer's clock; a free order is confirmed right away.

    A provider in trouble leaves the order `payment_delayed`, to be rung again; one that refuses closes it.
    """
    with sessions.begin() as session:
        opening = _prepare_opening(session, order_id, now)
    if opening is None:
        return
    try:
        intent = gateway.open_intent(opening.request, opening.key)
    except VendorError as error:
        with sessions.begin() as session:
            _record_trouble_opening(session, opening.attempt_id, error, now)
    else:
        with sessions.begin() as session:
            _record_opening(session, opening.attempt_id, intent, now, clocks)


def _prepare_opening(session: Session, order_id: UUID, now: datetime) -> _Opening | None:
    order = lock_order(session, order_id)
    if order is None or not _wants_intent(order):
        return None
    if order.total == 0:
        outcomes.settle_free(session, order, now)
        return None
    attempt = attempts.open_charge(session, order, _ready_account(session, order), now)
    return _Opening(attempt.id, attempt.idempotency_key, _request(order, attempt))


def _wants_intent(order: Order) -> bool:
    return order.stage in {OrderStage.HELD, OrderStage.PAYMENT_DELAYED} and order.stripe_payment_intent_id is None


def _ready_account(session: Session, order: Order) -> str | None:
    """Return the promoter's connected account where it can take money (docs.stripe.com/connect/destination-charges).

    Without one the charge is the platform's, which then holds the money for the promoter: no sale stops for it. An
    account that Stripe has refused for this order is not tried again, even if a reading should call it ready.
    """
    refused = exists().where(
        PaymentTransaction.order_id == order.id, PaymentTransaction.error_code.in_(ACCOUNT_REFUSALS)
    )
    return session.scalar(
        select(Promoter.stripe_account_id)
        .join(Event, Event.promoter_id == Promoter.id)
        .where(Event.id == order.event_id, Promoter.stripe_account_state == StripeAccountState.READY, ~refused)
    )


def _request(order: Order, attempt: PaymentTransaction) -> IntentRequest:
    """Return the request from frozen values only: a key that comes back with others is refused by Stripe."""
    account = attempt.provider_account_id
    return IntentRequest(
        reference=attempt.id,
        event_id=order.event_id,
        order_id=order.id,
        order_number=order.number,
        amount=attempt.amount,
        currency=attempt.currency,
        description=f"Order {order.number}",
        destination=Destination(account, order.fees + order.absorbed_fees) if account else None,
    )


def _record_opening(session: Session, attempt_id: UUID, intent: Intent, now: datetime, clocks: Clocks) -> None:
    order, attempt = attempts.lock(session, attempt_id)
    if attempt.provider_transaction_id is not None:
        return
    live = attempts.live_charge(session, order.id)
    if live is not None and live.id != attempt.id:
        # A newer attempt took over; the intent of this one is left behind, and nobody can pay it.
        return
    attempts.identify(attempt, intent)
    if not _wants_intent(order):
        # The order ended while the provider was being called.
        announce(session, CancelPayment(order.id), order.request_id)
        return
    order.stripe_payment_intent_id = intent.id
    order.stripe_client_secret = intent.client_secret
    pays_until = now + timedelta(seconds=clocks.hold_seconds)
    order.hold_expires_at = min(pays_until, order.hold_limit_at or pays_until)
    move(session, order, OrderStage.AWAITING_PAYMENT, "payment_opened")
    settlement.apply_reading(session, order, attempt, intent, now)


def _record_trouble_opening(session: Session, attempt_id: UUID, error: VendorError, now: datetime) -> None:
    order, attempt = attempts.lock(session, attempt_id)
    if attempt.provider_transaction_id is not None or attempt.status not in OPEN_STATUSES:
        return
    attempts.note(attempt, error)
    if isinstance(error, PermanentVendorError):
        attempt.status = AttemptStatus.FAILED
        if not _is_about_account(attempt, error):
            if _wants_intent(order):
                outcomes.end_unpaid(session, order, OrderReason.PAYMENT_FAILED, now)
            return
        # The next attempt does without it; whether other orders should, its reading tells.
        announce(session, ReadAccount(str(attempt.provider_account_id)), order.request_id)
    elif isinstance(error, UnknownOutcomeError):
        attempt.status = AttemptStatus.UNKNOWN
    if order.stage is OrderStage.HELD:
        move(session, order, OrderStage.PAYMENT_DELAYED, "payment_delayed")


def _is_about_account(attempt: PaymentTransaction, error: PermanentVendorError) -> bool:
    return attempt.provider_account_id is not None and error.code in ACCOUNT_REFUSALS
