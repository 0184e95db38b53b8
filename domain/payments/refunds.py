"""Giving money back: what can be refunded is reserved in an attempt, under the order's lock.

Who may ask is in `refund_policy.py`, which tickets go back in `returned_tickets.py`. Carrying a refund out, and what
it does to the order, is in `repayment.py`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, case, func, not_, select
from sqlalchemy.orm import Session

from domain import audit
from domain.audit import SYSTEM, Actor
from domain.buyers import tell_buyer
from domain.errors import ConflictError, ForbiddenError, InvalidError
from domain.messages import Message, RefundPayment, announce
from domain.models import Event, Order, PaymentTransaction, Ticket
from domain.models.payments import OPEN_STATUSES
from domain.payments import attempts, ledger, returned_tickets
from domain.payments.refund_policy import lock_for_refund, require_policy
from domain.rules.lifecycle import CONFIRMED
from domain.rules.money import charge_step, written
from domain.rules.states import AttemptKind, AttemptStatus, OrderReason

LATE_PAYMENT = "late_payment"
OWED = frozenset({LATE_PAYMENT, OrderReason.EVENT_CANCELLED.value})
"""Reasons of our own for which we owe the money: such a refund is tried until it succeeds."""
RESERVING = (*OPEN_STATUSES, AttemptStatus.SUCCEEDED)
"""Statuses of a refund that counts as gone: one whose outcome is still to come, too."""
LONGEST_PAUSE = timedelta(hours=1)
"""A refund may stay pending at the provider for days."""
STALLED_LIMIT = 500


def request_refund(
    session: Session,
    order_id: UUID,
    *,
    reason: str,
    requested_by: Actor,
    now: datetime,
    amount: int | None = None,
    ticket_ids: Sequence[UUID] = (),
) -> PaymentTransaction:
    """Write down a refund of a paid order, by amount, by ticket, or of all that is left, and ring for it.

    Raises what `lock_for_refund` and `require_policy` raise, `ForbiddenError` for an amount from a buyer,
    `ConflictError` with `nothing-to-refund`, `refund-exceeds-payment` or `ticket-not-refundable`, `InvalidError` for
    no positive amount or another order's ticket.
    """
    order, event, sells = lock_for_refund(session, order_id, requested_by)
    chosen = returned_tickets.choose(session, order, ticket_ids)
    if not sells:
        if amount is not None:
            raise ForbiddenError("Ask for tickets to be refunded, or for all of them.", pointer="/amount")
        wanted = chosen or returned_tickets.find_refundable(session, order)
        require_policy(order, event, wanted, now, named=bool(chosen))
    charge, left = _largest_charge(session, order)
    given = _worth(order, chosen, left) if chosen else _checked(amount, left, charge)
    refund = PaymentTransaction(amount=given, reason=reason, requested_by_id=requested_by.user_id, created_at=now)
    if not chosen and given == left:
        chosen = returned_tickets.find_refundable(session, order)
    _request(session, order, charge, refund, requested_by, chosen)
    return refund


def give_back(session: Session, order: Order, charge: PaymentTransaction, reason: str, now: datetime) -> None:
    """Refund by ourselves what is left of one charge of a locked order.

    Its tickets go with it, unless it is a payment too many, for which there are none.
    """
    if left := refundable(session, charge):
        refund = PaymentTransaction(amount=left, reason=reason, requested_by_id=None, created_at=now)
        chosen = [] if reason == LATE_PAYMENT else returned_tickets.find_refundable(session, order)
        _request(session, order, charge, refund, SYSTEM, chosen)


def refundable(session: Session, charge: PaymentTransaction) -> int:
    """Return what is left of a charge: a refund whose outcome is still to come is gone, as is what a dispute took."""
    return max(0, balance(session, charge))


def balance(session: Session, charge: PaymentTransaction) -> int:
    """Return what is left of a charge, below zero where a bank took what a refund had been reserved for."""
    reserved = session.scalar(
        select(func.sum(PaymentTransaction.amount)).where(
            PaymentTransaction.parent_id == charge.id,
            PaymentTransaction.kind == AttemptKind.REFUND,
            PaymentTransaction.status.in_(RESERVING),
        )
    )
    return charge.amount - int(reserved or 0) - ledger.disputed(session, charge)


def _largest_charge(session: Session, order: Order) -> tuple[PaymentTransaction, int]:
    charges = attempts.captured_charges(session, order.id)
    charge = max(charges, key=lambda charge: refundable(session, charge), default=None)
    left = refundable(session, charge) if charge is not None else 0
    if charge is None or left == 0:
        raise ConflictError("Nothing of this order is left to refund.", code="nothing-to-refund")
    return charge, left


def _worth(order: Order, tickets: Sequence[Ticket], left: int) -> int:
    """Return what goes back for these tickets: earlier refunds of a part may have left less than they cost."""
    amount = min(returned_tickets.worth(order, tickets), left)
    if amount == 0:
        raise ConflictError("These tickets cost nothing.", code="nothing-to-refund", pointer="/tickets")
    return amount


def _checked(amount: int | None, left: int, charge: PaymentTransaction) -> int:
    if amount is None:
        return left
    if amount <= 0:
        raise InvalidError("A refund is of more than nothing.", pointer="/amount")
    if amount % charge_step(charge.currency):
        step = written(charge_step(charge.currency), charge.currency)
        raise InvalidError(f"Amounts in {charge.currency} are multiples of {step}.", pointer="/amount")
    if amount > left:
        raise ConflictError(
            f"Only {written(left, charge.currency)} of this order can still be refunded.",
            code="refund-exceeds-payment",
            pointer="/amount",
        )
    return amount


def _request(
    session: Session,
    order: Order,
    charge: PaymentTransaction,
    refund: PaymentTransaction,
    requested_by: Actor,
    chosen: Sequence[Ticket],
) -> None:
    event = session.get_one(Event, order.event_id)
    refund.returns_fee = event.returns_fees or event.is_cancelled or own_reason(refund) in OWED
    reserve(session, charge, refund)
    returned_tickets.promise(session, refund, chosen)
    told = {"amount": refund.amount, "reason": refund.reason, "tickets": len(chosen)}
    tell_buyer(session, order, "refund_requested", currency=charge.currency, **told)
    audit.record(session, requested_by, "order.refund", order, new={**told, "returns_fee": refund.returns_fee})
    announce(session, RefundPayment(refund.id), order.request_id)


def reserve(session: Session, charge: PaymentTransaction, refund: PaymentTransaction) -> None:
    """Write a refund of a charge down: its number in its order, the key that comes of it, and who pays for it."""
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
    refund.reverses_transfer = charge.provider_account_id is not None and _held(session, charge) < refund.amount
    session.add(refund)
    session.flush()


def _held(session: Session, charge: PaymentTransaction) -> int:
    """Return what is left of the promoter's money that refunds took, and that came back to the platform's account."""
    came_back = and_(
        PaymentTransaction.reverses_transfer,
        PaymentTransaction.status == AttemptStatus.FAILED,
        PaymentTransaction.provider_transaction_id.is_not(None),
    )
    spent = and_(not_(PaymentTransaction.reverses_transfer), PaymentTransaction.status != AttemptStatus.FAILED)
    held = session.scalar(
        select(
            func.sum(case((came_back, PaymentTransaction.amount), (spent, -PaymentTransaction.amount), else_=0))
        ).where(PaymentTransaction.parent_id == charge.id, PaymentTransaction.kind == AttemptKind.REFUND)
    )
    return int(held or 0)


def own_reason(refund: PaymentTransaction) -> str | None:
    """Return the reason of a refund by ourselves; a person's words are none, whatever they are."""
    return refund.reason if refund.requested_by_id is None else None


def is_owed(session: Session, order: Order, refund: PaymentTransaction) -> bool:
    """Tell whether we owe this money whoever asked: by our own reason, or because its tickets are gone."""
    has_ended = order.stage not in CONFIRMED
    return own_reason(refund) in OWED or has_ended or returned_tickets.are_withdrawn(session, refund)


def try_again(session: Session, charge: PaymentTransaction, failed: PaymentTransaction, amount: int) -> None:
    """Let a new attempt, with its own key, follow one that failed, and keep why.

    It takes over the tickets, and the age, and so the ever longer pauses.
    """
    follower = PaymentTransaction(
        amount=amount,
        reason=failed.reason,
        requested_by_id=failed.requested_by_id,
        returns_fee=failed.returns_fee,
        created_at=failed.created_at,
        error_code=failed.error_code,
        error_message=failed.error_message,
    )
    reserve(session, charge, follower)
    returned_tickets.hand_on(session, failed, follower)


def return_the_rest(session: Session, charge: PaymentTransaction) -> None:
    """Try again what a failed refund has left of an ended order's charge: without tickets none of it is ours."""
    failed = session.scalar(
        select(PaymentTransaction)
        .where(
            PaymentTransaction.parent_id == charge.id,
            PaymentTransaction.kind == AttemptKind.REFUND,
            PaymentTransaction.status == AttemptStatus.FAILED,
        )
        .order_by(PaymentTransaction.attempt.desc())
        .limit(1)
    )
    if failed is not None and (rest := refundable(session, charge)):
        try_again(session, charge, failed, rest)


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
