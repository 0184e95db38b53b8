"""Orders of cancelled events: each is given up, or its money given back, until none is left.

Refunds themselves are in `refunds.py` and `repayment.py`.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, and_, exists, func, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from domain import tickets, transfer_mails
from domain.buyers import write_to_buyer
from domain.models import Event, LedgerEntry, Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.one_by_one import one_by_one
from domain.payments import attempts
from domain.payments.refunds import RESERVING, give_back
from domain.rules.clocks import Clocks
from domain.rules.lifecycle import CONFIRMED
from domain.rules.states import AttemptKind, AttemptStatus, EventStatus, OrderReason, OrderStage, TicketStatus
from domain.transitions import close, give_up, lock_order

BATCH = 200
"""Orders in one round; with the sweep's period it paces the calls to the provider."""


def refund_cancelled_events(sessions: sessionmaker[Session], now: datetime, clocks: Clocks, limit: int = BATCH) -> int:
    """Undo the orders of cancelled events, each in its own transaction, until none is left; return how many.

    What was captured is refunded, what was not is given up. A round that is cut off is continued by the next. An order
    all of whose money is on its way back, or with the bank, is left alone until that has ended.
    """
    with sessions() as session:
        standing = find_standing(session, limit)
    return one_by_one(sessions, standing, lambda session, order_id: _undo(session, order_id, now, clocks))


def find_standing(session: Session, limit: int) -> Sequence[UUID]:
    """Return orders of cancelled events that are still to be undone."""
    captured = _sum_of(AttemptKind.CHARGE, AttemptStatus.SUCCEEDED)
    gone = _sum_of(AttemptKind.REFUND, *RESERVING) - _disputed()
    # Event by event, and in no order: else the orders of all events would be read by their ids until enough are found.
    standing = (
        select(Order.id)
        .where(Order.event_id == Event.id, Order.stage.not_in([OrderStage.EXPIRING, OrderStage.CLOSED]))
        .where(or_(~_is_returning(Order.id), captured > gone))
        .limit(limit)
        .correlate(Event)
        .lateral()
    )
    of_cancelled = select(standing.c.id).select_from(Event).join(standing, true())
    return session.scalars(of_cancelled.where(Event.status == EventStatus.CANCELLED).limit(limit)).all()


def _sum_of(kind: AttemptKind, *statuses: AttemptStatus) -> ScalarSelect[int]:
    return (
        select(func.coalesce(func.sum(PaymentTransaction.amount), 0))
        .where(PaymentTransaction.order_id == Order.id, PaymentTransaction.kind == kind)
        .where(PaymentTransaction.status.in_(statuses))
        .scalar_subquery()
    )


def _disputed() -> ScalarSelect[int]:
    """Sum what disputes have taken, below zero as the ledger has it."""
    return (
        select(func.coalesce(func.sum(LedgerEntry.amount), 0))
        .join(PaymentTransaction, PaymentTransaction.id == LedgerEntry.transaction_id)
        .where(LedgerEntry.order_id == Order.id, PaymentTransaction.kind == AttemptKind.DISPUTE)
        .scalar_subquery()
    )


def _is_returning(order_id: InstrumentedAttribute[UUID] | UUID) -> ColumnElement[bool]:
    # An inquiry has taken nothing, and hinders no refund.
    has_taken = exists().where(LedgerEntry.transaction_id == PaymentTransaction.id)
    takes = and_(PaymentTransaction.kind == AttemptKind.DISPUTE, has_taken)
    return exists().where(
        PaymentTransaction.order_id == order_id,
        or_(PaymentTransaction.kind == AttemptKind.REFUND, takes),
        PaymentTransaction.status.in_(OPEN_STATUSES),
    )


def _undo(session: Session, order_id: UUID, now: datetime, clocks: Clocks) -> bool:
    order = lock_order(session, order_id)
    if order is None or order.stage in {OrderStage.EXPIRING, OrderStage.CLOSED}:
        return False
    write_to_buyer(session, order, "event_cancelled")
    if order.stage not in CONFIRMED:
        give_up(session, order, OrderReason.EVENT_CANCELLED, now, clocks)
        return True
    # Now, as the buyer is: the refund that takes the tickets back may be days away.
    transfer_mails.tell_holders(session, order, tickets.find_live(session, order))
    for charge in attempts.captured_charges(session, order.id):
        give_back(session, order, charge, OrderReason.EVENT_CANCELLED, now)
    if not session.scalar(select(_is_returning(order.id))):
        # It cost nothing, or a bank has taken all of it: only the tickets are left.
        tickets.withdraw(session, order, TicketStatus.CANCELLED)
        close(session, order, OrderReason.EVENT_CANCELLED, now)
    return True
