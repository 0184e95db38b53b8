"""Orders as their buyer meets them: accept, find, list, cancel.

The way of an order after this: allocation.py (stock), payments/ (money), tickets.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.orm import Session, joinedload, selectinload
from uuid_utils.compat import uuid4, uuid7

from domain import admission, audit, order_records
from domain.audit import Actor
from domain.code_terms import CodeTerms
from domain.errors import BusyError, ConflictError, DomainError, InvalidError, KeyReusedError, NotFoundError
from domain.line import Spot, spot_in
from domain.messages import ServeTier, announce
from domain.models import Event, Order, OrderItem, PaymentTransaction, Ticket
from domain.ownership import may
from domain.purchases import Arrival, Purchase, Wish, price
from domain.rules.admission import AdmissionLimits
from domain.rules.clocks import Clocks
from domain.rules.lifecycle import ENDED
from domain.rules.pricing import Line, Totals, add_up
from domain.rules.states import AttemptKind, OrderReason, OrderStage, TeamRight
from domain.transitions import give_up, lock_order


@dataclass(frozen=True, slots=True)
class Placement:
    """An order as it was just written down: nobody needs to read it again to answer."""

    number: str
    sequence: int
    version: int
    created_at: datetime
    accepted_at: datetime
    lines: Sequence[Line]
    salts: Sequence[UUID]
    """Both of its items, in the order of the purchase's wishes."""
    totals: Totals
    spots: Sequence[Spot]
    """Where it waits, tier by tier, not counting those who were being accepted at the same time."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The order that stands for a purchase; without a placement it was made by an earlier request."""

    order_id: UUID
    placement: Placement | None = None

    @property
    def replayed(self) -> bool:
        """Whether it answers a repeated request."""
        return self.placement is None


def accept(session: Session, arrivals: Sequence[Arrival], limits: AdmissionLimits) -> list[Acceptance | DomainError]:
    """Take purchases into the tiers' lines, in their order: one statement, whatever they hold. Each has its outcome.

    It is `InvalidError`, `ConflictError` or `SoldOutError` when the edge can already tell that a purchase will not be
    served, `BusyError` when too many wait, all in all or of this person, `KeyReusedError` when its key stands for
    another request.
    """
    priced: list[tuple[Arrival, list[Line]]] = []
    refusals: dict[Arrival, DomainError] = {}
    for arrival in arrivals:
        try:
            priced.append((arrival, price(arrival, limits)))
        except (InvalidError, ConflictError, BusyError) as refusal:
            refusals[arrival] = refusal
    accepted = _insert(session, priced, most_waiting=limits.waiting_orders_per_person) if priced else {}
    # The same purchase may have been accepted before: by now it is refused, or its key is taken.
    others = [arrival.key for arrival in arrivals if arrival not in accepted]
    earlier = order_records.find_keys(session, others) if others else {}
    return [
        accepted.get(arrival)
        or _replay(arrival.purchase, earlier.get(arrival.key))
        or refusals.get(arrival)
        or admission.refuse_too_many(arrival.wanted, limits)
        for arrival in arrivals
    ]


def _insert(
    session: Session, priced: Sequence[tuple[Arrival, list[Line]]], *, most_waiting: int
) -> dict[Arrival, Acceptance]:
    """Insert orders, and ring their tiers; return the acceptances of those whose keys were free and who may wait."""
    orders = [_order(arrival, lines) for arrival, lines in priced]
    placed = order_records.insert(session, orders, most_waiting=most_waiting)
    accepted = {}
    for (arrival, lines), order in zip(priced, orders, strict=True):
        if (rows := placed.get(order["id"])) is None:
            continue
        accepted[arrival] = Acceptance(order["id"], _placement(order, lines, rows))
        for wish in arrival.purchase.wishes:
            announce(session, ServeTier(wish.tier_id), arrival.purchase.request_id)
    return accepted


def _placement(order: Mapping[str, Any], lines: Sequence[Line], rows: Sequence[Row[Any]]) -> Placement:
    row = rows[0]
    return Placement(
        number=row.number,
        sequence=row.sequence,
        version=row.version,
        created_at=row.created_at,
        accepted_at=row.accepted_at,
        lines=lines,
        salts=[item["salt"] for item in order["items"]],
        totals=add_up(lines),
        spots=[spot_in(row) for row in rows],
    )


def _order(arrival: Arrival, lines: Sequence[Line]) -> dict[str, Any]:
    purchase = arrival.purchase
    return {
        "id": uuid7(),
        "user_id": purchase.buyer_id,
        "event_id": purchase.event_id,
        "currency": arrival.offers[purchase.wishes[0].tier_id].currency,
        **_parts(add_up(lines)),
        "billing_name": purchase.billing_name,
        "billing_email": purchase.billing_email,
        "billing_address": purchase.billing_address,
        "idempotency_key": purchase.idempotency_key,
        "idempotency_fingerprint": purchase.fingerprint,
        "request_id": purchase.request_id,
        "items": [
            _item(wish, line, arrival.code_for(wish.tier_id)) for wish, line in zip(purchase.wishes, lines, strict=True)
        ],
    }


def _item(wish: Wish, line: Line, code: CodeTerms | None) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "tier_id": wish.tier_id,
        **_parts(line),
        "attendees": list(wish.attendees) or None,
        # Not the standard library's: that asks the system, and lets go of the interpreter's lock meanwhile.
        "salt": uuid4(),
        "code_id": code.id if code else None,
    }


def _parts(price: Line | Totals) -> dict[str, int]:
    """Return the parts of a price by name, without the deep copy of each that `asdict` makes."""
    return {name: getattr(price, name) for name in price.__slots__}


def _replay(purchase: Purchase, earlier: Row[Any] | None) -> Acceptance | KeyReusedError | None:
    if earlier is None:
        return None
    if earlier.idempotency_fingerprint != purchase.fingerprint:
        return KeyReusedError("This Idempotency-Key stands for another purchase; send a new one.")
    return Acceptance(earlier.id)


_WHOLE = (
    selectinload(Order.items).options(
        # Where no item has a code, nothing is asked.
        joinedload(OrderItem.tier),
        selectinload(OrderItem.code),
    ),
    selectinload(Order.timeline),
    joinedload(Order.event).joinedload(Event.promoter),
)


def find(session: Session, order_id: UUID, viewer: Actor) -> Order:
    """Return an order with its items and timeline, for its buyer, or whoever sells for its event.

    Raises `NotFoundError` for everybody else.
    """
    order = session.scalar(
        select(Order).where(Order.id == order_id).options(*_WHOLE).execution_options(populate_existing=True)
    )
    if order is None or not (order.user_id == viewer.user_id or may(session, order.event, viewer, TeamRight.SELL)):
        raise NotFoundError("order")
    return order


def list_own(session: Session, buyer_id: UUID, *, limit: int, after: UUID | None) -> Sequence[Order]:
    """Return a buyer's orders, newest first, one more than `limit` if there are more."""
    query = select(Order).where(Order.user_id == buyer_id).options(*_WHOLE).order_by(Order.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Order.id < after)
    return session.scalars(query).all()


def find_tickets(session: Session, order_ids: Sequence[UUID]) -> dict[UUID, list[Ticket]]:
    """Return the tickets of these orders."""
    tickets: dict[UUID, list[Ticket]] = {order_id: [] for order_id in order_ids}
    if not tickets:
        return tickets
    rows = session.scalars(
        select(Ticket).where(Ticket.order_id.in_(order_ids)).order_by(Ticket.order_item_id, Ticket.position)
    )
    for ticket in rows:
        tickets[ticket.order_id].append(ticket)
    return tickets


def find_last_charges(session: Session, order_ids: Sequence[UUID]) -> dict[UUID, PaymentTransaction]:
    """Return the latest attempt to charge each of these orders, where there was one."""
    if not order_ids:
        return {}
    rows = session.scalars(
        select(PaymentTransaction)
        .where(PaymentTransaction.order_id.in_(order_ids), PaymentTransaction.kind == AttemptKind.CHARGE)
        .order_by(PaymentTransaction.attempt)
    )
    return {attempt.order_id: attempt for attempt in rows}


def lock_for_buyer(session: Session, order_id: UUID, buyer_id: UUID | None) -> Order:
    """Lock a buyer's own order; raise `NotFoundError` for anybody else's."""
    order = lock_order(session, order_id)
    if order is None or order.user_id != buyer_id:
        raise NotFoundError("order")
    return order


def cancel(session: Session, order_id: UUID, buyer: Actor, now: datetime, clocks: Clocks) -> None:
    """Give up an order that is not paid; repeating it changes nothing.

    Raises `ConflictError` for one that has been paid: that is a refund's business.
    """
    order = lock_for_buyer(session, order_id, buyer.user_id)
    if order.stage is OrderStage.EXPIRING or (order.stage in ENDED and order.confirmed_at is None):
        return
    if order.confirmed_at is not None:
        raise ConflictError("This order has been paid; ask for a refund instead.", code="not-cancellable")
    give_up(session, order, OrderReason.BUYER_CANCELLED, now, clocks)
    audit.record(session, buyer, "order.cancel", order)
