"""Carrying a refund out at the provider, and what it does to the order when it succeeds.

How much may be refunded, and why, is in `refunds.py`.
"""

import logging
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from domain import attempts, ledger, refunds, tickets
from domain.buyers import tell_buyer, write_to_buyer
from domain.errors import PermanentVendorError, UnknownOutcomeError, VendorError
from domain.models import Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.ports import PaymentGateway, Refund, RefundRequest
from domain.rules.lifecycle import CONFIRMED
from domain.rules.refunds import returned_fee
from domain.rules.states import (
    AttemptKind,
    AttemptStatus,
    LedgerKind,
    OrderReason,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    TicketStatus,
)
from domain.transitions import move, release

log = logging.getLogger(__name__)


def carry_out_refund(
    sessions: sessionmaker[Session], gateway: PaymentGateway, transaction_id: UUID, now: datetime
) -> None:
    """Ask the provider for a refund that was written down, or how it stands, and record what it says.

    The request is repeated with its key while that is fresh; after that only a reading can settle it.
    """
    with sessions.begin() as session:
        prepared = _prepare(session, transaction_id, now)
    if prepared is None:
        return
    refund_id, request, key = prepared
    try:
        answer: Refund | VendorError = gateway.find_refund(refund_id) if refund_id else gateway.refund(request, key)
    except VendorError as error:
        answer = error
    with sessions.begin() as session:
        order, refund = attempts.lock(session, transaction_id)
        if isinstance(answer, Refund):
            apply_reading(session, order, refund, answer, now)
        elif refund.status in OPEN_STATUSES:
            _record_trouble(session, order, refund, answer)


def _prepare(session: Session, transaction_id: UUID, now: datetime) -> tuple[str | None, RefundRequest, str] | None:
    if session.get(PaymentTransaction, transaction_id) is None:
        return None
    order, refund = attempts.lock(session, transaction_id)
    if refund.kind is not AttemptKind.REFUND or refund.status not in OPEN_STATUSES:
        return None
    attempts.touch(refund)
    refund.called_at = refund.called_at or now
    if refund.provider_transaction_id is None and now - refund.called_at > attempts.KEY_LIFE:
        # Stripe may have forgotten the key: calling again could refund twice.
        log.error("refund.unknown transaction=%s", transaction_id)
        return None
    charge = _charge_of(session, refund)
    is_connected = refund.provider_account_id is not None
    request = RefundRequest(
        reference=refund.id,
        intent_id=charge.provider_transaction_id or "",
        amount=refund.amount,
        reverse_transfer=is_connected,
        refund_application_fee=is_connected and order.fees + order.absorbed_fees > 0,
    )
    return refund.provider_transaction_id, request, refund.idempotency_key


def apply_reading(session: Session, order: Order, refund: PaymentTransaction, reading: Refund, now: datetime) -> None:
    """Bring a locked order's refund to where this reading says it is; only forward.

    A reading of another charge or amount is believed in nothing: it is kept for a person.
    """
    attempts.touch(refund)
    if refund.status not in OPEN_STATUSES:
        return
    charge = _charge_of(session, refund)
    ours = (charge.provider_transaction_id, refund.amount, refund.currency)
    if (reading.intent_id, reading.amount, reading.currency.upper()) != ours:
        refund.error_code, refund.error_message = "mismatch", "The provider's refund is not what we asked for."
        log.error("refund.mismatch transaction=%s refund=%s", refund.id, reading.id)
        return
    refund.provider_transaction_id = reading.id
    refund.raw_reference = {"refund": reading.id, "status": reading.status}
    refund.error_code = refund.error_message = None
    match reading.status:
        case "succeeded":
            refund.status = AttemptStatus.SUCCEEDED
            _book(session, order, charge, refund, reading)
            _show(session, order, refund, now)
        case "failed" | "canceled":
            _fail(session, order, refund, reading.failure_reason or reading.status, "The provider could not refund.")
        case _:
            refund.status = AttemptStatus.PROCESSING


def _charge_of(session: Session, refund: PaymentTransaction) -> PaymentTransaction:
    return session.get_one(PaymentTransaction, refund.parent_id)


def _record_trouble(session: Session, order: Order, refund: PaymentTransaction, error: VendorError) -> None:
    is_asked = refund.provider_transaction_id is not None
    if isinstance(error, PermanentVendorError) and not is_asked and refund.status is not AttemptStatus.UNKNOWN:
        _fail(session, order, refund, error.code, error.message)
        return
    attempts.note(refund, error)
    if isinstance(error, UnknownOutcomeError):
        refund.status = AttemptStatus.UNKNOWN


def _fail(session: Session, order: Order, refund: PaymentTransaction, code: str | None, message: str) -> None:
    """Record that the provider refused: what was reserved is free again, or reserved by the next attempt."""
    refund.status = AttemptStatus.FAILED
    refund.error_code, refund.error_message = code, message
    attempts.touch(refund)
    log.error("refund.failed transaction=%s code=%s", refund.id, code)
    if refund.reason in refunds.OWED:
        refunds.try_again(session, _charge_of(session, refund), refund)
    else:
        tell_buyer(session, order, "refund_failed", amount=refund.amount, currency=refund.currency)


def _book(
    session: Session, order: Order, charge: PaymentTransaction, refund: PaymentTransaction, reading: Refund
) -> None:
    """Book a refund, the platform's fee in proportion, and derive the order's money from the ledger."""
    before = ledger.returned(session, charge)
    fee = order.fees + order.absorbed_fees
    share = returned_fee(fee, charge.amount, before=before, after=before + refund.amount)
    ledger.book(session, refund, {LedgerKind.REFUND: -refund.amount, LedgerKind.REVERSAL: share}, reading.id)
    # A second charge of one order, given back, leaves the first one paid.
    order.refunded = max(0, order.total - ledger.kept(session, order.id))


def _show(session: Session, order: Order, refund: PaymentTransaction, now: datetime) -> None:
    """Tell the buyer, and undo an order of which nothing is paid any more."""
    is_whole = order.refunded == order.total
    told = {"amount": refund.amount, "currency": refund.currency}
    if is_whole and order.stage in CONFIRMED:
        if not tickets.has_used(session, order):
            # Where somebody is inside already, the seats are not free.
            release(session, order)
        tickets.withdraw(session, order, TicketStatus.REFUNDED)
        order.reason = OrderReason.EVENT_CANCELLED if refund.reason == OrderReason.EVENT_CANCELLED else None
        move(session, order, OrderStage.CLOSED, "refunded", **told)
    else:
        tell_buyer(session, order, "refunded", **told)
    if is_whole:
        order.status = OrderStatus.REFUNDED
        order.payment_status = PaymentStatus.REFUNDED
        order.refunded_at = now
    template = "late_payment_refunded" if refund.reason == refunds.LATE_PAYMENT else "order_refunded"
    write_to_buyer(session, order, template, f"{template}:{refund.id}")
