"""Carrying a refund out at the provider, and what it does to the order when it succeeds.

How much may be refunded, and why, is in `refunds.py`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from domain import outgoing
from domain.buyers import tell_buyer, write_to_buyer
from domain.errors import PermanentVendorError, UnknownOutcomeError, VendorError
from domain.models import Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.payments import attempts, disputed_refunds, refund_bookings, refunds, returned_tickets
from domain.ports import STORED_ERROR, PaymentGateway, Refund, RefundRequest
from domain.rules.lifecycle import CONFIRMED
from domain.rules.states import (
    AttemptKind,
    AttemptStatus,
    OrderReason,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    WebhookType,
)
from domain.transitions import move

log = logging.getLogger(__name__)

FAILED = frozenset({"failed", "canceled"})
LOST = "lost"
ALREADY_REFUNDED = "charge_already_refunded"
BALANCE_TOO_LOW = frozenset({"balance_insufficient", "insufficient_balance_for_refund", "insufficient_funds"})
"""Our balance at the provider does not cover a refund now, but it will: as codes of an error
(docs.stripe.com/error-codes), and as the reason of a refund that failed (docs.stripe.com/api/refunds/object).
"""
PASSING = BALANCE_TOO_LOW | disputed_refunds.CODES
"""Refusals that are no end, owed or not: Stripe keeps them for their key, so that it takes a new attempt."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What to ask the provider about a refund."""

    refund_id: str | None
    request: RefundRequest
    key: str
    was_called: bool
    """An earlier call may have had its effect, although nobody recorded it."""
    is_spent: bool
    """The provider may have forgotten the key: calling again could refund twice."""
    lost: Sequence[UUID]
    """Earlier attempts of which the provider knew nothing when it was asked."""


def carry_out_refund(
    sessions: sessionmaker[Session], gateway: PaymentGateway, transaction_id: UUID, now: datetime
) -> None:
    """Ask the provider for a refund that was written down, or how it stands, and record what it says.

    The request is repeated with its key while that has anything to say. After that the refund is looked up by our
    reference; one that is not there gives way to a new attempt.
    """
    with sessions.begin() as session:
        step = _prepare(session, transaction_id, now)
    if step is None:
        return
    try:
        answer: Refund | VendorError | None = _ask(gateway, step)
    except VendorError as error:
        answer = error
    with sessions.begin() as session:
        order, refund = attempts.lock(session, transaction_id)
        if isinstance(answer, Refund):
            apply_reading(session, order, refund, answer, now)
        elif refund.status not in OPEN_STATUSES:
            return
        elif answer is not None:
            _record_trouble(session, order, refund, answer, step)
        elif refund.provider_transaction_id is None:
            _replace(session, refund)


def _prepare(session: Session, transaction_id: UUID, now: datetime) -> _Step | None:
    if session.get(PaymentTransaction, transaction_id) is None:
        return None
    order, refund = attempts.lock(session, transaction_id)
    if refund.kind is not AttemptKind.REFUND or refund.status not in OPEN_STATUSES:
        return None
    attempts.touch(refund)
    charge = _charge_of(session, refund)
    was_called = refund.called_at is not None
    if not was_called and disputed_refunds.stands_in_the_way(session, order, charge, refund):
        return None
    refund.called_at = refund.called_at or now
    is_spent = now - refund.called_at > attempts.KEY_LIFE
    request, lost = _describe(order, charge, refund), _lost(session, refund)
    return _Step(refund.provider_transaction_id, request, refund.idempotency_key, was_called, is_spent, lost)


def _describe(order: Order, charge: PaymentTransaction, refund: PaymentTransaction) -> RefundRequest:
    reverses_transfer = refund.provider_account_id is not None and refund.reverses_transfer
    has_fee = order.fees + order.absorbed_fees > 0
    return RefundRequest(
        reference=refund.id,
        intent_id=charge.provider_transaction_id or "",
        amount=refund.amount,
        reverse_transfer=reverses_transfer,
        refund_application_fee=reverses_transfer and has_fee and refund.returns_fee,
    )


def _lost(session: Session, refund: PaymentTransaction) -> Sequence[UUID]:
    return session.scalars(
        select(PaymentTransaction.id).where(
            PaymentTransaction.parent_id == refund.parent_id,
            PaymentTransaction.kind == AttemptKind.REFUND,
            PaymentTransaction.error_code == LOST,
            PaymentTransaction.status == AttemptStatus.FAILED,
            # A follower takes over the age of the one before it, and nobody else has it.
            PaymentTransaction.created_at == refund.created_at,
        )
    ).all()


def _ask(gateway: PaymentGateway, step: _Step) -> Refund | None:
    if step.refund_id is not None:
        return gateway.find_refund(step.refund_id)
    if not step.is_spent:
        try:
            return gateway.refund(step.request, step.key)
        except VendorError as error:
            if error.code == ALREADY_REFUNDED and (found := _find_lost(gateway, step)):
                return found
            is_refused_later = step.was_called and isinstance(error, PermanentVendorError)
            if error.code != STORED_ERROR and not is_refused_later:
                raise
            # This answer is about an earlier call, or because of its effect: only a look-up can tell.
    return gateway.find_refund_by_reference(step.request.intent_id, step.request.reference)


def _find_lost(gateway: PaymentGateway, step: _Step) -> Refund | None:
    """Return what an earlier attempt has done after all, by whose reference it is found."""
    readings = (gateway.find_refund_by_reference(step.request.intent_id, reference) for reference in step.lost)
    return next(filter(None, readings), None)


def apply_reading(session: Session, order: Order, refund: PaymentTransaction, reading: Refund, now: datetime) -> None:
    """Bring a locked order's refund to where this reading says it is; only forward.

    Even one that succeeded may still fail, days later (docs.stripe.com/refunds#failed-refunds). A reading of another
    charge or amount is believed in nothing: it is kept for a person.
    """
    attempts.touch(refund)
    has_failed = reading.status in FAILED
    if refund.status not in OPEN_STATUSES and not (refund.status is AttemptStatus.SUCCEEDED and has_failed):
        if refund.provider_transaction_id is None and not has_failed:
            log.error("refund.surplus transaction=%s refund=%s", refund.id, reading.id)
        return
    charge = _charge_of(session, refund)
    ours = (charge.provider_transaction_id, refund.amount, refund.currency)
    if (reading.intent_id, reading.amount, reading.currency.upper()) != ours:
        refund.error_code, refund.error_message = "mismatch", "The provider's refund is not what we asked for."
        log.error("refund.mismatch transaction=%s refund=%s", refund.id, reading.id)
        return
    refund.provider_transaction_id = reading.id
    refund.reverses_transfer = reading.reverses_transfer
    refund.raw_reference = {"refund": reading.id, "status": reading.status}
    refund.error_code = refund.error_message = None
    if has_failed:
        if refund.status is not AttemptStatus.SUCCEEDED and reading.reverses_transfer:
            # Nothing reached the buyer, but the promoter's part has moved, and our fee.
            refund_bookings.book(session, order, charge, refund, reading)
        if refund.status is AttemptStatus.SUCCEEDED or reading.reverses_transfer:
            refund_bookings.take_back(session, order, charge, refund, reading)
        _fail(session, order, refund, reading.failure_reason or reading.status, "The provider could not refund.")
    elif reading.status == "succeeded":
        refund.status = AttemptStatus.SUCCEEDED
        refund_bookings.book(session, order, charge, refund, reading)
        _show(session, order, refund, now)
    else:
        refund.status = AttemptStatus.PROCESSING


def _charge_of(session: Session, refund: PaymentTransaction) -> PaymentTransaction:
    return session.get_one(PaymentTransaction, refund.parent_id)


def _record_trouble(
    session: Session, order: Order, refund: PaymentTransaction, error: VendorError, step: _Step
) -> None:
    is_first = not step.was_called and refund.provider_transaction_id is None
    if isinstance(error, PermanentVendorError) and is_first:
        _fail(session, order, refund, error.code, error.message)
        return
    attempts.note(refund, error)
    if isinstance(error, UnknownOutcomeError):
        refund.status = AttemptStatus.UNKNOWN
    elif is_first:
        # The only call surely did nothing, so the key is as good as new.
        refund.called_at = None


def _replace(session: Session, refund: PaymentTransaction) -> None:
    """Let a new attempt, with its own key, follow one of which the provider knows nothing."""
    refund.status = AttemptStatus.FAILED
    refund.error_code, refund.error_message = LOST, "The provider never made this refund."
    log.warning("refund.lost transaction=%s", refund.id)
    _follow(session, refund)


def _fail(session: Session, order: Order, refund: PaymentTransaction, code: str | None, message: str) -> None:
    """Record that the provider refused: what was reserved is free again, or reserved by the next attempt."""
    was_shown = refund.status is AttemptStatus.SUCCEEDED
    may_go_on = code in PASSING or refunds.is_owed(session, order, refund)
    refund.status = AttemptStatus.FAILED
    refund.error_code, refund.error_message = code, message
    attempts.touch(refund)
    log.error("refund.failed transaction=%s code=%s", refund.id, code)
    goes_on = may_go_on and _follow(session, refund)
    if not goes_on:
        returned_tickets.let_go(session, refund)
    if was_shown or not goes_on:
        tell_buyer(session, order, "refund_failed", amount=refund.amount, currency=refund.currency)


def _follow(session: Session, failed: PaymentTransaction) -> bool:
    """Try again what is left of the charge; tell whether anything was.

    A person may have refunded at the provider, or a dispute have taken the money. One that a dispute forbids waits.
    """
    charge = _charge_of(session, failed)
    waits = failed.error_code in disputed_refunds.CODES
    amount = failed.amount if waits else min(failed.amount, refunds.refundable(session, charge))
    if amount:
        refunds.try_again(session, charge, failed, amount)
    return amount > 0


def _show(session: Session, order: Order, refund: PaymentTransaction, now: datetime) -> None:
    """Take the refund's tickets, undo an order of which nothing is left, and tell the buyer."""
    is_whole = order.refunded == order.total
    told = {"amount": refund.amount, "currency": refund.currency}
    taken, has_ended = 0, False
    if order.stage in CONFIRMED:
        taken = returned_tickets.withdraw(session, order, refund, everything=is_whole)
        has_ended = is_whole or (taken > 0 and not returned_tickets.has_live(session, order))
        returned_tickets.give_seats_back(session, order, has_ended=has_ended)
    if has_ended:
        is_cancelled = refunds.own_reason(refund) == OrderReason.EVENT_CANCELLED
        order.reason = OrderReason.EVENT_CANCELLED if is_cancelled else None
        move(session, order, OrderStage.CLOSED, "refunded", **told)
        order.status = OrderStatus.REFUNDED
        refunds.return_the_rest(session, _charge_of(session, refund))
    else:
        tell_buyer(session, order, "refunded", tickets=taken, **told)
    if is_whole:
        order.status = OrderStatus.REFUNDED
        order.payment_status = PaymentStatus.REFUNDED
        order.refunded_at = now
    template = "late_payment_refunded" if refunds.own_reason(refund) == refunds.LATE_PAYMENT else "order_refunded"
    context = {"returned_tickets": taken} if taken and not has_ended else None
    write_to_buyer(session, order, template, f"{template}:{refund.id}", context)
    outgoing.tell_of_order(session, order, WebhookType.ORDER_REFUNDED)
