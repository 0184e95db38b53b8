"""The orders of an event, as its promoter and their team see them: by filters and a search, newest first.

What one order says to its buyer is in domain/orders.py; nothing here holds a secret of theirs.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, Uuid, column, exists, literal_column, select, table, text
from sqlalchemy.orm import Session

from domain import exports
from domain.audit import Actor
from domain.event_rows import newest, newest_of, order_number, searched
from domain.exports import Export, Rows
from domain.models import Order, OrderItem, User
from domain.ownership import find_event
from domain.rules.states import OrderReason, OrderSource, OrderStage, OrderStatus, PaymentStatus, TeamRight

COLUMNS = (
    "number",
    "sequence",
    "status",
    "stage",
    "reason",
    "payment_status",
    "source",
    "buyer_name",
    "buyer_email",
    "tickets",
    "tiers",
    "currency",
    "subtotal",
    "fees",
    "absorbed_fees",
    "tax",
    "total",
    "refunded",
    "created_at",
    "confirmed_at",
    "cancelled_at",
    "refunded_at",
)
_OVERVIEW = table("order_overview", column("order_id", Uuid), *(column(name) for name in COLUMNS))
_ROW = select(_OVERVIEW.c.order_id.label("id"), *(_OVERVIEW.c[name] for name in COLUMNS))

# Spelled like the indexes ix_users_search and ix_orders_billing_search, or they would not serve them.
_PERSON = literal_column("(users.first_name || ' ' || users.last_name || ' ' || users.email)", Text)
_BILLED = literal_column("(coalesce(orders.billing_name, '') || ' ' || coalesce(orders.billing_email, ''))", Text)
_IS_BILLED = text("(orders.billing_name IS NOT NULL OR orders.billing_email IS NOT NULL)")
# As text, so that the planner sees the condition of ix_orders_awaiting_approval, and no parameter in its place.
_AWAITS_APPROVAL = text("orders.stage = 'awaiting_approval'")


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """What to find; what is None does not narrow it.

    `words` is an order's number, or a part of the buyer's name or address, or of those that the order was billed to.
    """

    status: OrderStatus | None = None
    stage: OrderStage | None = None
    reason: OrderReason | None = None
    payment_status: PaymentStatus | None = None
    source: OrderSource | None = None
    tier_id: UUID | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    needs_approval: bool = False
    words: str | None = None


def list_orders(
    session: Session, actor: Actor, event_id: UUID, wanted: OrderFilter, *, before: UUID | None, limit: int
) -> Rows:
    """Return the newest orders that match, those older than the order `before`, at most `limit` + 1 of them.

    Raises as `ownership.find_event` does.
    """
    event = find_event(session, actor, event_id, TeamRight.SELL)
    return _read(session, event.id, wanted, before, limit + 1)


def begin_export(session: Session, actor: Actor, event_id: UUID, wanted: OrderFilter, form: str) -> Export:
    """Return the export of all orders that match, and put it on record; raise as `list_orders` does."""
    event = find_event(session, actor, event_id, TeamRight.SELL)
    export = Export(
        "orders",
        ("id", *COLUMNS),
        lambda session, before, limit: _read(session, event_id, wanted, before, limit),
    )
    exports.record(session, actor, event, export, asdict(wanted), form)
    return export


def _read(session: Session, event_id: UUID, wanted: OrderFilter, before: UUID | None, limit: int) -> Rows:
    """Return so many rows: first their ids, by an index that has them in order, then what the view says of these."""
    if wanted.words is None:
        page = newest(Order, event_id, before, limit).where(*_conditions(wanted))
    else:
        candidates = searched(Order, event_id, before, limit).where(*_conditions(wanted))
        page = newest_of(_ways(candidates, wanted.words), limit)
    ids = page.subquery()
    rows = _ROW.where(_OVERVIEW.c.order_id.in_(select(ids.c.id))).order_by(_OVERVIEW.c.order_id.desc())
    return session.execute(rows).all()


def _ways(page: Select[UUID], words: str) -> list[Select[UUID]]:
    ways = [
        page.join(User, User.id == Order.user_id).where(_PERSON.icontains(words, autoescape=True)),
        page.where(_IS_BILLED, _BILLED.icontains(words, autoescape=True)),
    ]
    number = order_number(words)
    return [*ways, page.where(Order.number == number)] if number else ways


def _conditions(wanted: OrderFilter) -> list[ColumnElement[bool]]:
    alike = ("status", "stage", "reason", "payment_status", "source")
    conditions: list[Any] = [
        getattr(Order, name) == value for name in alike if (value := getattr(wanted, name)) is not None
    ]
    if wanted.tier_id is not None:
        conditions.append(exists().where(OrderItem.order_id == Order.id, OrderItem.tier_id == wanted.tier_id))
    if wanted.created_from is not None:
        conditions.append(Order.created_at >= wanted.created_from)
    if wanted.created_before is not None:
        conditions.append(Order.created_at < wanted.created_before)
    if wanted.needs_approval:
        conditions.append(_AWAITS_APPROVAL)
    return conditions
