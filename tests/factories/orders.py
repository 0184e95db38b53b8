"""Orders in any stage, as the real line would have left them: priced, with items, counters, payment and tickets."""

from datetime import timedelta

import factory
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.models import Event, IdempotencyKey, Order, OrderItem, TimelineEntry
from domain.models.base import SALE_SEQUENCE
from domain.rules.lifecycle import CONFIRMED, HOLDING, PAYABLE, status_of
from domain.rules.pricing import Discount, Terms, add_up, price_line
from domain.rules.states import InventoryState, OrderReason, OrderSource, OrderStage, OrderStatus, PaymentStatus
from tests.factories.accounts import UserFactory
from tests.factories.base import RowFactory, current_session, from_now
from tests.factories.catalog import TicketTierFactory
from tests.factories.money import record_payment
from tests.factories.tickets import TicketFactory

UNSERVED = {OrderStage.QUEUED, OrderStage.QUARANTINED}
REFUSALS = {OrderReason.SOLD_OUT, OrderReason.LIMIT_EXCEEDED, OrderReason.SALE_CLOSED}
INTENDED = {*PAYABLE, OrderStage.EXPIRING, *CONFIRMED}
"""Stages that an order reaches only with an intent, unless it is free."""


class OrderFactory(RowFactory):
    """`OrderFactory(stage=…, tier=tier, quantity=2)`, or `contents={tier: 2, other: 1}`, bought with a `code`.

    The tiers' and the code's counters change with it. Where its stage implies them, the order has its payment attempt,
    ledger entries and tickets too, unless `with_payment` or `with_tickets` is false.
    """

    class Meta:
        model = Order

    class Params:
        tier = None
        quantity = 1

    contents = factory.LazyAttribute(lambda order: {order.tier or TicketTierFactory(): order.quantity})
    code = None
    with_payment = True
    with_tickets = True

    user = factory.SubFactory(UserFactory)
    event = factory.LazyAttribute(lambda order: current_session().get_one(Event, next(iter(order.contents)).event_id))
    sequence = factory.LazyFunction(lambda: current_session().scalar(select(SALE_SEQUENCE.next_value())))
    stage = OrderStage.QUEUED
    status = factory.LazyAttribute(lambda order: status_of(order.stage))
    reason = factory.LazyAttribute(lambda order: _reason(order.stage, order.status))
    source = factory.LazyAttribute(
        lambda order: OrderSource.WAITLIST if order.stage == OrderStage.OFFERED else OrderSource.DIRECT
    )
    payment_status = factory.LazyAttribute(
        lambda order: PaymentStatus.COMPLETED if order.stage in CONFIRMED else PaymentStatus.PENDING
    )
    currency = factory.SelfAttribute("event.currency")
    held_at = factory.LazyAttribute(
        lambda order: None if _never_held(order.stage, order.reason) else from_now(minutes=-1)
    )
    hold_expires_at = factory.LazyAttribute(
        lambda order: from_now(minutes=5) if order.stage in HOLDING - {OrderStage.EXPIRING} else None
    )
    hold_limit_at = factory.LazyAttribute(
        lambda order: order.held_at + timedelta(minutes=20) if order.held_at and order.stage in HOLDING else None
    )
    confirmed_at = factory.LazyAttribute(lambda order: from_now() if order.stage in CONFIRMED else None)
    cancelled_at = factory.LazyAttribute(lambda order: from_now() if order.status == OrderStatus.CANCELLED else None)
    idempotency_key = factory.LazyAttribute(lambda order: str(uuid7()) if order.source == OrderSource.DIRECT else None)
    idempotency_fingerprint = factory.LazyAttribute(lambda order: "0" * 64 if order.idempotency_key else None)

    @classmethod
    def _create(cls, model_class, *args, contents, code, with_payment, with_tickets, **values):
        lines = _price(values["event"], contents, code)
        totals = add_up([line for _, line in lines])
        for name in ("subtotal", "fees", "absorbed_fees", "tax", "total"):
            values.setdefault(name, getattr(totals, name))
        states = _inventory_states(OrderStage(values["stage"]), values["reason"], len(lines))
        items = [_item(tier, line, state, values, code) for (tier, line), state in zip(lines, states, strict=True)]
        if code is not None:
            _count(code, items)
        order = super()._create(model_class, *args, items=items, **values)
        if with_payment and order.total > 0 and order.stage in INTENDED:
            record_payment(order)
        if with_tickets and order.stage in CONFIRMED:
            for item in items:
                for position in range(1, item.quantity + 1):
                    TicketFactory(order=order, item=item, position=position)
        return order


class TimelineEntryFactory(RowFactory):
    class Meta:
        model = TimelineEntry

    order_id = factory.LazyFunction(lambda: OrderFactory().id)
    kind = "accepted"


class IdempotencyKeyFactory(RowFactory):
    class Meta:
        model = IdempotencyKey

    user_id = factory.LazyFunction(lambda: UserFactory().id)
    key = factory.LazyFunction(lambda: str(uuid7()))
    fingerprint = "0" * 64
    response_status = 202
    response_body = factory.LazyFunction(dict)


def _reason(stage, status):
    if stage == OrderStage.CLOSED and status == OrderStatus.CANCELLED:
        return OrderReason.SOLD_OUT
    return OrderReason.HOLD_EXPIRED if stage == OrderStage.EXPIRING else None


def _never_held(stage, reason):
    return stage in {*UNSERVED, OrderStage.PARTLY_HELD} or reason in REFUSALS


def _price(event, contents, code):
    terms = Terms(event.fee_rate_bps, event.fee_fixed, event.absorbs_fees, event.tax_rate_bps)
    discount = Discount(code.discount_bps, code.discount_amount) if code else None
    return [(tier, price_line(tier.price, quantity, terms, discount)) for tier, quantity in contents.items()]


def _count(code, items):
    """Count what the order takes with its code, which is for all of its tiers."""
    taken = [item.quantity for item in items if item.inventory_state in {InventoryState.RESERVED, InventoryState.SOLD}]
    code.uses += bool(taken)
    code.tickets += sum(taken)


def _inventory_states(stage, reason, count):
    if stage is OrderStage.QUEUED:
        return [InventoryState.QUEUED] * count
    if stage is OrderStage.QUARANTINED:
        return [InventoryState.QUARANTINED, *[InventoryState.RELEASED] * (count - 1)]
    if stage is OrderStage.PARTLY_HELD:
        return [InventoryState.RESERVED, *[InventoryState.QUEUED] * (count - 1)]
    if stage in HOLDING:
        return [InventoryState.RESERVED] * count
    if stage in CONFIRMED:
        return [InventoryState.SOLD] * count
    return [InventoryState.REFUSED if reason in REFUSALS else InventoryState.RELEASED] * count


def _item(tier, line, state, order, code):
    if state is InventoryState.RESERVED:
        tier.reserved += line.quantity
    if state is InventoryState.SOLD:
        tier.sold += line.quantity
    return OrderItem(
        user_id=order["user"].id,
        tier=tier,
        sequence=order["sequence"],
        quantity=line.quantity,
        unit_price=line.unit_price,
        subtotal=line.subtotal,
        fees=line.fees,
        absorbed_fees=line.absorbed_fees,
        tax=line.tax,
        inventory_state=state,
        code=code,
    )
