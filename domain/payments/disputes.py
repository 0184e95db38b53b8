"""Disputes: a card's owner asks the bank for the money back, and for weeks nobody knows who will keep it.

Each is an attempt of kind DISPUTE below its charge: `processing` while it is open, `succeeded` when the bank took the
money, `failed` when it did not. What a reading says is applied under the order's lock, and only forward.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, contains_eager, sessionmaker

from domain import audit, outgoing, tickets
from domain.audit import SYSTEM, Actor
from domain.buyers import tell_buyer
from domain.errors import VendorError
from domain.messages import FollowDispute, Message
from domain.models import LedgerEntry, Order, PaymentTransaction, Ticket
from domain.models.payments import OPEN_STATUSES
from domain.ownership import find_event
from domain.payments import attempts, ledger, refunds, returned_tickets
from domain.ports import Dispute, PaymentGateway
from domain.rules.lifecycle import CONFIRMED
from domain.rules.states import (
    AttemptKind,
    AttemptStatus,
    LedgerKind,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    TeamRight,
    TicketStatus,
    WebhookType,
)
from domain.transitions import move

log = logging.getLogger(__name__)

STATUSES = {
    "lost": AttemptStatus.SUCCEEDED,
    "won": AttemptStatus.FAILED,
    "warning_closed": AttemptStatus.FAILED,
    "prevented": AttemptStatus.FAILED,
}
"""How a dispute ends (docs.stripe.com/api/disputes/object); in any other status it is open."""
PAUSE = timedelta(hours=1)
"""A bank takes weeks."""
STALLED_LIMIT = 200
DISPUTE_WON = "dispute_won"
"""Our own reason to refund an order that ended while its money was disputed."""


def follow_dispute(
    sessions: sessionmaker[Session], gateway: PaymentGateway, transaction_id: UUID, now: datetime
) -> None:
    """Read an open dispute at the provider, and apply what it says."""
    with sessions.begin() as session:
        dispute = session.get(PaymentTransaction, transaction_id)
        if dispute is None or dispute.kind is not AttemptKind.DISPUTE or dispute.status not in OPEN_STATUSES:
            return
        attempts.touch(dispute)
        dispute_id, charge_id = dispute.provider_transaction_id, dispute.parent_id
        assert dispute_id is not None, "we hear of a dispute by its name"
        assert charge_id is not None, "only charges have no parent"
    try:
        reading = gateway.find_dispute(dispute_id)
    except VendorError as error:
        log.warning("dispute.unread dispute=%s code=%s", dispute_id, error.code)
        return
    with sessions.begin() as session:
        order, charge = attempts.lock(session, charge_id)
        apply_reading(session, order, charge, reading, now)


def apply_reading(session: Session, order: Order, charge: PaymentTransaction, reading: Dispute, now: datetime) -> None:
    """Bring a dispute of a locked order's charge to where this reading says it is; only forward.

    One that was closed stays closed, unless it was lost and is won after all. A reading of another charge or currency
    is believed in nothing: it is for a person.
    """
    if (reading.intent_id, reading.currency.upper()) != (charge.provider_transaction_id, charge.currency):
        log.error("dispute.mismatch order=%s dispute=%s", order.id, reading.id)
        return
    status = STATUSES.get(reading.status, AttemptStatus.PROCESSING)
    dispute = _find(session, reading)
    if dispute is not None and not _may_become(dispute.status, status, reading):
        return
    before = dispute.status if dispute else None
    dispute = dispute or _write_down(session, charge, reading, now)
    dispute.status = status
    dispute.raw_reference = _reference(reading)
    was_taken = _book(session, dispute, reading, was_won=before is AttemptStatus.FAILED)
    ledger.count(session, order)
    if status is not before or (was_taken and status is AttemptStatus.SUCCEEDED):
        log.log(_LEVELS[status], "dispute.%s order=%s dispute=%s", reading.status, order.id, reading.id)
        new = {"dispute": reading.id, "status": reading.status, "amount": dispute.amount, "reason": reading.reason}
        audit.record(session, SYSTEM, "order.dispute", order, new=new)
        _ACTS[status](session, order, dispute, now)
    if status is not AttemptStatus.PROCESSING and _has_ended(order) and not tickets.has_used(session, order):
        # Whatever came back has no tickets any more.
        refunds.give_back(session, order, charge, DISPUTE_WON, now)


def _has_ended(order: Order) -> bool:
    """Tell whether an order is closed for good: while a clock runs, its stock is asked for again."""
    return order.stage is OrderStage.CLOSED and order.hold_expires_at is None


def _find(session: Session, reading: Dispute) -> PaymentTransaction | None:
    return session.scalar(
        select(PaymentTransaction).where(
            PaymentTransaction.provider_transaction_id == reading.id, PaymentTransaction.kind == AttemptKind.DISPUTE
        )
    )


def _may_become(before: AttemptStatus, after: AttemptStatus, reading: Dispute) -> bool:
    """Tell whether a dispute may go on like this: readings are taken outside the lock, so one may be older."""
    is_won_after_all = before is AttemptStatus.SUCCEEDED and reading.status == "won"
    return before in {AttemptStatus.PROCESSING, after} or is_won_after_all


def _write_down(session: Session, charge: PaymentTransaction, reading: Dispute, now: datetime) -> PaymentTransaction:
    earlier = session.scalar(
        select(func.count()).where(
            PaymentTransaction.order_id == charge.order_id, PaymentTransaction.kind == AttemptKind.DISPUTE
        )
    )
    dispute = PaymentTransaction(
        order_id=charge.order_id,
        parent_id=charge.id,
        kind=AttemptKind.DISPUTE,
        attempt=1 + (earlier or 0),
        provider_transaction_id=reading.id,
        provider_account_id=charge.provider_account_id,
        amount=reading.amount,
        currency=charge.currency,
        status=AttemptStatus.PROCESSING,
        idempotency_key=f"dispute:{reading.id}",
        reason=reading.reason,
        created_at=now,
    )
    session.add(dispute)
    session.flush()
    return dispute


def _reference(reading: Dispute) -> dict[str, Any]:
    due_at = reading.evidence_due_at
    return {
        "dispute": reading.id,
        "status": reading.status,
        "evidence_due_at": due_at.isoformat() if due_at else None,
    }


def _book(session: Session, dispute: PaymentTransaction, reading: Dispute, *, was_won: bool) -> bool:
    """Book what the provider has withdrawn, and has given back, once each; tell whether money was taken.

    The balance may be in another currency, so what moved is the dispute's own amount. Of a dispute that is won, or
    still open, a reading may be older than another: there money moves one way only.
    """
    booked = set(session.scalars(select(LedgerEntry.kind).where(LedgerEntry.transaction_id == dispute.id)))
    is_taken = bool(reading.withdrawn) and not was_won and not booked
    is_open = dispute.status is AttemptStatus.PROCESSING
    if is_taken:
        # An inquiry may become a chargeback of another amount.
        dispute.amount = reading.amount
        ledger.book(session, dispute, {LedgerKind.DISPUTE: -dispute.amount}, reading.id)
    elif not reading.withdrawn and not is_open and booked == {LedgerKind.DISPUTE}:
        ledger.book(session, dispute, {LedgerKind.REVERSAL: dispute.amount}, reading.id)
    return is_taken


def _begin(session: Session, order: Order, dispute: PaymentTransaction, now: datetime) -> None:
    tickets.block(session, order, now)
    tell_buyer(session, order, "payment_disputed", amount=dispute.amount, currency=dispute.currency)


def _win(session: Session, order: Order, dispute: PaymentTransaction, _now: datetime) -> None:
    tickets.unblock(session, order)
    tell_buyer(session, order, "dispute_won", amount=dispute.amount, currency=dispute.currency)


def _lose(session: Session, order: Order, dispute: PaymentTransaction, now: datetime) -> None:
    """End an order of which nothing is paid any more; a part that is lost is like a part that was refunded."""
    is_whole = order.refunded == order.total
    told = {"amount": dispute.amount, "currency": dispute.currency}
    if is_whole and order.stage in CONFIRMED:
        tickets.withdraw(session, order, TicketStatus.CANCELLED)
        returned_tickets.give_seats_back(session, order, has_ended=True)
        order.reason = None
        move(session, order, OrderStage.CLOSED, "dispute_lost", **told)
    else:
        tell_buyer(session, order, "dispute_lost", **told)
    if is_whole:
        order.status = OrderStatus.REFUNDED
        order.payment_status = PaymentStatus.REFUNDED
        order.refunded_at = now
    else:
        tickets.unblock(session, order)
    outgoing.tell_of_order(session, order, WebhookType.ORDER_REFUNDED)


_ACTS = {AttemptStatus.PROCESSING: _begin, AttemptStatus.FAILED: _win, AttemptStatus.SUCCEEDED: _lose}
_LEVELS = {
    AttemptStatus.PROCESSING: logging.ERROR,
    AttemptStatus.FAILED: logging.WARNING,
    AttemptStatus.SUCCEEDED: logging.ERROR,
}


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for open disputes that nobody has looked at for an hour."""
    waiting = session.scalars(
        select(PaymentTransaction.id)
        .where(PaymentTransaction.kind == AttemptKind.DISPUTE, PaymentTransaction.status.in_(OPEN_STATUSES))
        .where(PaymentTransaction.updated_at < before - PAUSE)
        .order_by(PaymentTransaction.updated_at)
        .limit(STALLED_LIMIT)
    )
    return [FollowDispute(transaction_id) for transaction_id in waiting]


def list_disputes(
    session: Session, actor: Actor, event_id: UUID, *, limit: int, before: UUID | None
) -> Sequence[tuple[PaymentTransaction, int]]:
    """Return the disputes of an event, newest first, at most `limit` + 1, each with how many tickets it blocks.

    Raises `NotFoundError` if the actor may not see the event, `ForbiddenError` if it is not theirs.
    """
    find_event(session, actor, event_id, TeamRight.SELL)
    blocked = (
        select(func.count())
        .where(Ticket.order_id == Order.id, Ticket.blocked_at.is_not(None))
        .where(Ticket.status.in_([TicketStatus.VALID, TicketStatus.USED]))
        .scalar_subquery()
    )
    query = (
        select(PaymentTransaction, blocked)
        .join(PaymentTransaction.order)
        .options(contains_eager(PaymentTransaction.order))
        .where(Order.event_id == event_id, PaymentTransaction.kind == AttemptKind.DISPUTE)
        .order_by(PaymentTransaction.id.desc())
        .limit(limit + 1)
    )
    rows = session.execute(query if before is None else query.where(PaymentTransaction.id < before)).all()
    return [(dispute, count) for dispute, count in rows]
