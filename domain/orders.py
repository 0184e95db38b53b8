"""Orders as their buyer meets them: accept, find, list, cancel.

The way of an order after this: allocation.py (stock), payments/ (money), tickets.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, joinedload, selectinload
from uuid_utils.compat import uuid7

from domain import admission, audit
from domain.audit import Actor
from domain.errors import BusyError, ConflictError, InvalidError, KeyReusedError, NotFoundError
from domain.messages import ServeTier, announce
from domain.models import Event, Order, OrderItem, PaymentTransaction, Ticket
from domain.ownership import may_edit
from domain.rules.admission import AdmissionLimits
from domain.rules.clocks import Clocks
from domain.rules.lifecycle import ENDED
from domain.rules.money import MAXIMUM_CHARGE
from domain.rules.pricing import Line, Totals, add_up, price_line
from domain.rules.states import AttemptKind, OrderReason, OrderStage
from domain.storefront import Offer
from domain.transitions import give_up, lock_order

Offers = Mapping[UUID, Offer]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a purchase wants of one tier."""

    tier_id: UUID
    quantity: int
    attendees: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Purchase:
    """A request to buy, with the client's idempotency key and the fingerprint of what it stands for."""

    buyer_id: UUID
    event_id: UUID
    wishes: Sequence[Wish]
    idempotency_key: str
    fingerprint: str
    request_id: str | None = None
    billing_name: str | None = None
    billing_email: str | None = None
    billing_address: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """An order as it was just written down: nobody needs to read it again to answer."""

    number: str
    sequence: int
    version: int
    created_at: datetime
    accepted_at: datetime
    lines: Sequence[Line]
    """Of its items, in the order of the purchase's wishes."""
    totals: Totals


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The order that stands for a purchase; without a placement it was made by an earlier request."""

    order_id: UUID
    placement: Placement | None = None

    @property
    def replayed(self) -> bool:
        """Whether it answers a repeated request."""
        return self.placement is None


def accept(session: Session, purchase: Purchase, offers: Offers, now: datetime, limits: AdmissionLimits) -> Acceptance:
    """Take a purchase into the tiers' lines: one statement, whatever the order holds.

    `offers` is a recent picture of the tiers. Raises `InvalidError`, `ConflictError` or `SoldOutError` when the edge
    can already tell that it will not be served, `BusyError` when too many wait, all in all or of this person,
    `KeyReusedError` when the key stands for another request.
    """
    try:
        lines = _price(purchase, offers, now, limits)
    except (InvalidError, ConflictError, BusyError):
        # The same purchase may have been accepted while it still could be.
        if replay := _find_replay(session, purchase):
            return replay
        raise
    wanted = [offers[wish.tier_id] for wish in purchase.wishes]
    acceptance = _insert(
        session, purchase, lines, currency=wanted[0].currency, most_waiting=limits.waiting_orders_per_person
    )
    if acceptance is None:
        if replay := _find_replay(session, purchase):
            return replay
        assert limits.waiting_orders_per_person, "the insert met a key that is not there"
        raise admission.refuse_too_many(wanted, limits)
    for wish in purchase.wishes:
        announce(session, ServeTier(wish.tier_id))
    return acceptance


def _price(purchase: Purchase, offers: Offers, now: datetime, limits: AdmissionLimits) -> list[Line]:
    lines = []
    for index, wish in enumerate(purchase.wishes):
        pointer = f"/items/{index}"
        offer = offers.get(wish.tier_id)
        if offer is None or offer.event_id != purchase.event_id or not offer.is_public:
            raise InvalidError("This event has no such tier.", pointer=f"{pointer}/tier_id")
        admission.check_sale(offer, now, pointer)
        admission.check_quantity(offer, wish.quantity, pointer)
        admission.check_line(offer, limits, pointer)
        lines.append(price_line(offer.unit_price, wish.quantity, offer.terms))
    if add_up(lines).total > MAXIMUM_CHARGE:
        raise ConflictError("This costs more than one payment can be; buy fewer at once.", code="limit-exceeded")
    return lines


_INSERT = text("""
    WITH placed AS (
        INSERT INTO orders (id, user_id, event_id, currency, subtotal, fees, absorbed_fees, tax, total, billing_name,
                            billing_email, billing_address, idempotency_key, idempotency_fingerprint, request_id)
        SELECT :id, :user_id, :event_id, :currency, :subtotal, :fees, :absorbed_fees, :tax, :total, :billing_name,
               :billing_email, CAST(:billing_address AS jsonb), :key, :fingerprint, :request_id
        WHERE :most_waiting = 0 OR :most_waiting > (
            SELECT count(*) FROM orders
            WHERE user_id = :user_id AND event_id = :event_id AND stage IN ('queued', 'partly_held')
        )
        ON CONFLICT (user_id, idempotency_key) DO NOTHING
        RETURNING id, sequence, number, version, created_at
    ), lined AS (
        INSERT INTO order_items (id, order_id, sequence, tier_id, quantity, unit_price, subtotal, fees, absorbed_fees,
                                 tax, attendees)
        SELECT item.id, placed.id, placed.sequence, item.tier_id, item.quantity, item.unit_price, item.subtotal,
               item.fees, item.absorbed_fees, item.tax, item.attendees
        FROM placed, jsonb_to_recordset(:items)
            AS item (id uuid, tier_id uuid, quantity int, unit_price bigint, subtotal bigint, fees bigint,
                     absorbed_fees bigint, tax bigint, attendees jsonb)
    ), told AS (
        INSERT INTO order_timeline (order_id, kind) SELECT id, 'accepted' FROM placed
        RETURNING at AS accepted_at
    )
    SELECT number, sequence, version, created_at, accepted_at FROM placed, told
""").bindparams(bindparam("billing_address", type_=JSONB(none_as_null=True)), bindparam("items", type_=JSONB))


def _insert(
    session: Session, purchase: Purchase, lines: Sequence[Line], *, currency: str, most_waiting: int
) -> Acceptance | None:
    """Insert order, items and first line of the timeline; return None if the key is taken, or too many wait."""
    items: list[dict[str, Any]] = [
        {
            "id": str(uuid7()),
            "tier_id": str(wish.tier_id),
            **asdict(line),
            "attendees": list(wish.attendees) or None,
        }
        for wish, line in zip(purchase.wishes, lines, strict=True)
    ]
    order_id, totals = uuid7(), add_up(lines)
    values = {
        "id": order_id,
        "user_id": purchase.buyer_id,
        "event_id": purchase.event_id,
        "currency": currency,
        **asdict(totals),
        "billing_name": purchase.billing_name,
        "billing_email": purchase.billing_email,
        "billing_address": purchase.billing_address,
        "key": purchase.idempotency_key,
        "fingerprint": purchase.fingerprint,
        "request_id": purchase.request_id,
        "items": items,
        "most_waiting": most_waiting,
    }
    row = session.execute(_INSERT, values).one_or_none()
    return None if row is None else Acceptance(order_id, Placement(**row._asdict(), lines=lines, totals=totals))


def _find_replay(session: Session, purchase: Purchase) -> Acceptance | None:
    row = session.execute(
        select(Order.id, Order.idempotency_fingerprint).where(
            Order.user_id == purchase.buyer_id, Order.idempotency_key == purchase.idempotency_key
        )
    ).one_or_none()
    if row is None:
        return None
    if row.idempotency_fingerprint != purchase.fingerprint:
        raise KeyReusedError("This Idempotency-Key stands for another purchase; send a new one.")
    return Acceptance(row.id)


_WHOLE = (
    selectinload(Order.items).joinedload(OrderItem.tier),
    selectinload(Order.timeline),
    joinedload(Order.event).joinedload(Event.promoter),
)


def find(session: Session, order_id: UUID, viewer: Actor) -> Order:
    """Return an order with its items and timeline, for its buyer, its event's promoter or an admin.

    Raises `NotFoundError` for everybody else.
    """
    order = session.scalar(
        select(Order).where(Order.id == order_id).options(*_WHOLE).execution_options(populate_existing=True)
    )
    if order is None or not (order.user_id == viewer.user_id or may_edit(order.event, viewer)):
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


def lock_for_promoter(session: Session, order_id: UUID, actor: Actor) -> Order:
    """Lock an order of the actor's own event, or any for an admin; raise `NotFoundError` for the rest."""
    order = lock_order(session, order_id)
    if order is not None:
        event = session.get_one(Event, order.event_id, options=[joinedload(Event.promoter)], populate_existing=True)
        if may_edit(event, actor):
            return order
    raise NotFoundError("order")


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
