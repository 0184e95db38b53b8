"""Giving money back: what can be refunded is reserved in an attempt, under the order's lock.

Carrying a refund out, and what it does to the order, is in `repayment.py`.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session, sessionmaker

from domain import audit, tickets
from domain.audit import Actor
from domain.buyers import tell_buyer, write_to_buyer
from domain.errors import ConflictError, InvalidError
from domain.messages import Message, RefundPayment, announce
from domain.models import Event, Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.one_by_one import one_by_one
from domain.orders import lock_for_promoter
from domain.payments import attempts, ledger
from domain.rules.clocks import Clocks
from domain.rules.lifecycle import CONFIRMED
from domain.rules.money import written
from domain.rules.states import (
    AttemptKind,
    AttemptStatus,
    EventStatus,
    OrderReason,
    OrderStage,
    TicketStatus,
)
from domain.transitions import close, give_up, lock_order

LATE_PAYMENT = "late_payment"
OWED = frozenset({LATE_PAYMENT, OrderReason.EVENT_CANCELLED.value})
"""Reasons of our own for which we owe the money: such a refund is tried until it succeeds."""
SYSTEM = Actor()
LONGEST_PAUSE = timedelta(hours=1)
"""A refund may stay pending at the provider for days."""
BATCH = 200
"""Orders of cancelled events in one round; with the sweep's period it paces the calls to the provider."""
STALLED_LIMIT = 500


def request_refund(
    session: Session, order_id: UUID, *, reason: str, requested_by: Actor, now: datetime, amount: int | None = None
) -> PaymentTransaction:
    """Write down a refund of a paid order, the whole of what is left by default, and ring for it to be carried out.

    Raises `NotFoundError` unless whoever asks may edit the event, `ConflictError` with `nothing-to-refund` or
    `refund-exceeds-payment`, `InvalidError` for no positive amount.
    """
    order = lock_for_promoter(session, order_id, requested_by)
    if amount is not None and amount <= 0:
        raise InvalidError("A refund is of more than nothing.", pointer="/amount")
    left, charge = max(
        ((refundable(session, charge), charge) for charge in attempts.captured_charges(session, order.id)),
        key=lambda pair: pair[0],
        default=(0, None),
    )
    if charge is None or left == 0:
        raise ConflictError("Nothing of this order is left to refund.", code="nothing-to-refund")
    if amount is not None and amount > left:
        raise ConflictError(
            f"Only {written(left, charge.currency)} of this order can still be refunded.",
            code="refund-exceeds-payment",
            pointer="/amount",
        )
    return _request(session, order, charge, amount or left, reason, requested_by, now)


def give_back(session: Session, order: Order, charge: PaymentTransaction, reason: str, now: datetime) -> None:
    """Refund by ourselves what is left of one charge of a locked order."""
    if left := refundable(session, charge):
        _request(session, order, charge, left, reason, SYSTEM, now)


def refundable(session: Session, charge: PaymentTransaction) -> int:
    """Return what is left of a charge: a refund whose outcome is still to come is gone, as is what a dispute took."""
    reserved = session.scalar(
        select(func.sum(PaymentTransaction.amount)).where(
            PaymentTransaction.parent_id == charge.id,
            PaymentTransaction.kind == AttemptKind.REFUND,
            PaymentTransaction.status.in_([*OPEN_STATUSES, AttemptStatus.SUCCEEDED]),
        )
    )
    return max(0, charge.amount - int(reserved or 0) - ledger.disputed(session, charge))


def _request(
    session: Session,
    order: Order,
    charge: PaymentTransaction,
    amount: int,
    reason: str,
    requested_by: Actor,
    now: datetime,
) -> PaymentTransaction:
    refund = PaymentTransaction(amount=amount, reason=reason, requested_by_id=requested_by.user_id, created_at=now)
    reserve(session, charge, refund)
    tell_buyer(session, order, "refund_requested", amount=amount, currency=charge.currency, reason=reason)
    audit.record(session, requested_by, "order.refund", order, new={"amount": amount, "reason": reason})
    announce(session, RefundPayment(refund.id), order.request_id)
    return refund


def reserve(session: Session, charge: PaymentTransaction, refund: PaymentTransaction) -> None:
    """Write a refund of a charge down, as the next of its order."""
    earlier = session.scalar(
        select(func.count()).where(
            PaymentTransaction.order_id == charge.order_id, PaymentTransaction.kind == AttemptKind.REFUND
        )
    )
    refund.attempt = 1 + (earlier or 0)
    refund.order_id = charge.order_id
    refund.parent_id = charge.id
    refund.kind = AttemptKind.REFUND
    refund.provider_account_id = charge.provider_account_id
    refund.currency = charge.currency
    refund.idempotency_key = f"order:{charge.order_id}:refund:{refund.attempt}"
    session.add(refund)
    session.flush()


def own_reason(refund: PaymentTransaction) -> str | None:
    """Return the reason of a refund by ourselves; a person's words are none, whatever they are."""
    return refund.reason if refund.requested_by_id is None else None


def is_owed(order: Order, refund: PaymentTransaction) -> bool:
    """Tell whether we owe this money whoever asked: by our own reason, or because the order has no tickets."""
    return own_reason(refund) in OWED or order.stage not in CONFIRMED


def try_again(session: Session, charge: PaymentTransaction, failed: PaymentTransaction) -> None:
    """Let a new attempt follow one that failed; it takes over its age, and so its ever longer pauses.

    It is of no more than is left: a person may have refunded at the provider, or a dispute have taken the money.
    """
    amount = min(failed.amount, refundable(session, charge))
    if amount == 0:
        return
    follower = PaymentTransaction(
        amount=amount,
        reason=failed.reason,
        requested_by_id=failed.requested_by_id,
        created_at=failed.created_at,
    )
    reserve(session, charge, follower)


def refund_cancelled_events(sessions: sessionmaker[Session], now: datetime, clocks: Clocks, limit: int = BATCH) -> int:
    """Undo the orders of cancelled events, each in its own transaction, until none is left; return how many.

    What was captured is refunded, what was not is given up. A round that is cut off is continued by the next.
    """
    is_being_refunded = exists().where(
        PaymentTransaction.order_id == Order.id,
        PaymentTransaction.kind == AttemptKind.REFUND,
        PaymentTransaction.status.in_(OPEN_STATUSES),
    )
    with sessions() as session:
        standing = session.scalars(
            select(Order.id)
            .join(Event, Event.id == Order.event_id)
            .where(Event.status == EventStatus.CANCELLED, ~is_being_refunded)
            .where(Order.stage.not_in([OrderStage.EXPIRING, OrderStage.CLOSED]))
            # What a dispute has taken cannot be refunded: its outcome ends the order, or brings it back here.
            .where(or_(Order.total == 0, Order.refunded < Order.total))
            .order_by(Order.id)
            .limit(limit)
        ).all()
    return one_by_one(sessions, standing, lambda session, order_id: _undo(session, order_id, now, clocks))


def _undo(session: Session, order_id: UUID, now: datetime, clocks: Clocks) -> bool:
    order = lock_order(session, order_id)
    if order is None or order.stage in {OrderStage.EXPIRING, OrderStage.CLOSED}:
        return False
    write_to_buyer(session, order, "event_cancelled")
    if order.stage not in CONFIRMED:
        give_up(session, order, OrderReason.EVENT_CANCELLED, now, clocks)
    elif order.total == 0:
        tickets.withdraw(session, order, TicketStatus.CANCELLED)
        close(session, order, OrderReason.EVENT_CANCELLED, now)
    else:
        for charge in attempts.captured_charges(session, order.id):
            give_back(session, order, charge, OrderReason.EVENT_CANCELLED, now)
    return True


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for refunds whose outcome has been open since `before`."""
    waiting = session.scalars(
        select(PaymentTransaction.id)
        .where(PaymentTransaction.kind == AttemptKind.REFUND, PaymentTransaction.status.in_(OPEN_STATUSES))
        .where(attempts.due(LONGEST_PAUSE) < before)
        .order_by(PaymentTransaction.updated_at)
        .limit(STALLED_LIMIT)
    )
    return [RefundPayment(transaction_id) for transaction_id in waiting]
