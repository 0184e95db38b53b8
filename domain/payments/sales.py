"""What an event has sold, order by order, by the ledger and the tickets: one half of its statement.

It is read in one statement, and so at one moment, and streamed.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, BigInteger, ColumnElement, Row, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from domain.models import LedgerEntry, Order, OrderItem, PaymentTransaction, Ticket
from domain.models.payments import OPEN_STATUSES
from domain.rules.statements import Booked, Money, Sale, Seats
from domain.rules.states import AttemptKind, LedgerKind, OrderStage, TicketStatus

ROWS_AT_ONCE = 2_000

_Charge = aliased(PaymentTransaction, name="charge")


def read_sales(session: Session, event_id: UUID, since: datetime) -> Iterator[Sale]:
    """Yield every order of an event that has tickets or attempts to charge, as the ledger and the tickets have it.

    An order that was touched since then is still moving: the provider's books were read from then on.
    """
    rows = session.execute(_select_sales(event_id, since).execution_options(yield_per=ROWS_AT_ONCE))
    for _, charges in groupby(rows, key=lambda row: row.order_id):
        yield _sale(list(charges))


def _sale(rows: Sequence[Row[Any]]) -> Sale:
    first = rows[0]
    return Sale(
        order_id=first.order_id,
        order_number=first.number,
        currency=first.currency,
        total=first.total,
        is_moving=first.is_moving,
        charges=[_booked(row) for row in rows if row.transaction_id is not None],
        seats=Seats(
            bought=first.bought,
            issued=first.issued or 0,
            valid=first.valid or 0,
            blocked=first.blocked or 0,
            used=first.used or 0,
            refunded=first.taken_back or 0,
            live=first.live or 0,
        ),
    )


def _booked(row: Row[Any]) -> Booked:
    money = Money(row.charged or 0, row.fees or 0, row.refunded or 0, row.disputed or 0)
    return Booked(row.charge_id, row.intent_id, row.is_split, money)


def _select_sales(event_id: UUID, since: datetime) -> Select[Any]:
    booked, attempts, tickets = _booked_charges(event_id), _attempts(event_id), _tickets(event_id)
    last_touch = func.greatest(Order.updated_at, attempts.c.last_at, booked.c.last_at, tickets.c.last_at)
    # It asks its tiers for the stock again, for a payment that came after its end.
    is_being_revived = and_(Order.stage == OrderStage.CLOSED, Order.hold_expires_at.is_not(None))
    is_moving = or_(
        func.coalesce(attempts.c.is_open, False),
        Order.stage == OrderStage.ISSUING,
        is_being_revived,
        last_touch >= since,
    )
    return (
        select(
            Order.id.label("order_id"),
            Order.number,
            Order.currency,
            Order.total,
            is_moving.label("is_moving"),
            case((Order.confirmed_at.is_not(None), Order.subtotal), else_=0).label("bought"),
            _Charge.id.label("transaction_id"),
            _Charge.provider_transaction_id.label("intent_id"),
            _Charge.provider_account_id.is_not(None).label("is_split"),
            *(column for column in booked.c if column.name not in {"parent_id", "last_at"}),
            *(column for column in tickets.c if column.name not in {"order_id", "last_at"}),
        )
        .select_from(Order)
        .outerjoin(_Charge, and_(_Charge.order_id == Order.id, _Charge.kind == AttemptKind.CHARGE))
        .outerjoin(booked, booked.c.parent_id == _Charge.id)
        .outerjoin(attempts, attempts.c.order_id == Order.id)
        .outerjoin(tickets, tickets.c.order_id == Order.id)
        .where(Order.event_id == event_id)
        .where(or_(_Charge.id.is_not(None), tickets.c.order_id.is_not(None), Order.confirmed_at.is_not(None)))
        .order_by(Order.id)
    )


def _booked_charges(event_id: UUID) -> CTE:
    """Sum the ledger up by charge: refunds and disputes are attempts of their own, and name theirs as their parent."""
    parent_id = func.coalesce(PaymentTransaction.parent_id, PaymentTransaction.id)
    is_charge = LedgerEntry.kind == LedgerKind.CHARGE
    moved_back = LedgerEntry.kind.in_([LedgerKind.REFUND, LedgerKind.DISPUTE, LedgerKind.REVERSAL])
    return (
        select(
            parent_id.label("parent_id"),
            func.max(LedgerEntry.provider_reference).filter(is_charge).label("charge_id"),
            _sum(LedgerEntry.amount, is_charge).label("charged"),
            (-_sum(LedgerEntry.amount, LedgerEntry.kind == LedgerKind.FEE)).label("fees"),
            (-_sum(LedgerEntry.amount, moved_back, PaymentTransaction.kind != AttemptKind.DISPUTE)).label("refunded"),
            (-_sum(LedgerEntry.amount, moved_back, PaymentTransaction.kind == AttemptKind.DISPUTE)).label("disputed"),
            func.max(LedgerEntry.at).label("last_at"),
        )
        .join(PaymentTransaction, PaymentTransaction.id == LedgerEntry.transaction_id)
        .join(Order, Order.id == LedgerEntry.order_id)
        .where(Order.event_id == event_id)
        .group_by(parent_id)
        .cte("booked")
    )


def _attempts(event_id: UUID) -> CTE:
    """Tell of each order whether an attempt may still move money.

    One that was found to be another payment than ours waits for a person, an intent that was never made known cannot be
    paid, and a dispute moves its money when it says so, however long it stays open.
    """
    is_open = and_(
        PaymentTransaction.status.in_(OPEN_STATUSES),
        PaymentTransaction.error_code.is_distinct_from("mismatch"),
        or_(
            PaymentTransaction.kind == AttemptKind.REFUND,
            and_(
                PaymentTransaction.kind == AttemptKind.CHARGE, PaymentTransaction.provider_transaction_id.is_not(None)
            ),
        ),
    )
    return (
        select(
            PaymentTransaction.order_id,
            func.bool_or(is_open).label("is_open"),
            func.max(PaymentTransaction.updated_at).label("last_at"),
        )
        .join(Order, Order.id == PaymentTransaction.order_id)
        .where(Order.event_id == event_id)
        .group_by(PaymentTransaction.order_id)
        .cte("attempts")
    )


def _tickets(event_id: UUID) -> CTE:
    price = _share(Ticket.position) - _share(Ticket.position - 1)
    is_valid = Ticket.status == TicketStatus.VALID
    is_used = Ticket.status == TicketStatus.USED
    return (
        select(
            Ticket.order_id,
            _sum(price).label("issued"),
            _sum(price, is_valid, Ticket.blocked_at.is_(None)).label("valid"),
            _sum(price, is_valid, Ticket.blocked_at.is_not(None)).label("blocked"),
            _sum(price, is_used).label("used"),
            _sum(price, Ticket.status == TicketStatus.REFUNDED).label("taken_back"),
            func.count().filter(or_(is_valid, is_used)).label("live"),
            func.max(Ticket.updated_at).label("last_at"),
        )
        .join(OrderItem, OrderItem.id == Ticket.order_item_id)
        .where(Ticket.event_id == event_id)
        .group_by(Ticket.order_id)
        .cte("tickets")
    )


def _share(position: Any) -> ColumnElement[int]:
    """Return what the tickets up to a position cost, rounded half up: all together cost what is left of a discount."""
    share: ColumnElement[int] = (2 * OrderItem.subtotal * position + OrderItem.quantity) // (2 * OrderItem.quantity)
    return share


def _sum(amount: Any, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    total = func.sum(amount)
    summed = total.filter(and_(*conditions)) if conditions else total
    return func.coalesce(summed, 0).cast(BigInteger)
