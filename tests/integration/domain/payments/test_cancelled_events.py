from dataclasses import replace

import pytest
from sqlalchemy import func, select, update

from domain.errors import PermanentVendorError
from domain.messages import CancelPayment, RefundPayment
from domain.models import Event, Order, PaymentTransaction, Ticket, TicketTier
from domain.payments import cancelled_events
from domain.payments.cancelled_events import refund_cancelled_events
from domain.ports import Intent
from domain.rules.states import (
    AttemptStatus,
    EventStatus,
    InventoryState,
    OrderReason,
    OrderStage,
    OrderStatus,
    TicketStatus,
)
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, bound_to
from tests.integration.market import CLOCKS

REFUSED = PermanentVendorError("Not enough money.", code="balance_insufficient")


@pytest.fixture
def tier(till):
    with till.sessions.begin() as session, bound_to(session):
        return TicketTierFactory()


def place(till, tier, **values):
    with till.sessions.begin() as session, bound_to(session):
        tier = session.get_one(TicketTier, tier.id)
        return OrderFactory(tier=tier, with_payment=False, with_tickets=False, **values).id


def cancel(till, tier):
    with till.sessions.begin() as session:
        session.execute(
            update(Event).where(Event.id == tier.event_id).values(status=EventStatus.CANCELLED, cancelled_at=till.now)
        )


def undo(till, **values):
    return refund_cancelled_events(till.sessions, till.now, CLOCKS, **values)


def test_every_order_is_undone_until_none_is_left(till, tier):
    queued = place(till, tier, stage=OrderStage.QUEUED)
    payable, captured = (place(till, tier, stage=OrderStage.HELD) for _ in range(2))
    for order_id in (payable, captured):
        till.open(order_id)
    till.pay(captured)
    cancel(till, tier)
    assert undo(till) == 3
    assert till.read(queued).reason is OrderReason.EVENT_CANCELLED
    assert (till.read(payable).stage, till.heard(CancelPayment)) == (OrderStage.EXPIRING, [CancelPayment(payable)])
    till.cancel(payable)
    till.carry_out(till.refunds(captured)[0].id)
    order = till.read(captured)
    assert (order.status, order.reason) == (OrderStatus.REFUNDED, OrderReason.EVENT_CANCELLED)
    assert till.read(payable).reason is OrderReason.EVENT_CANCELLED
    assert undo(till) == 0
    assert till.mails(captured) == ["order_confirmed", "event_cancelled", "order_refunded"]
    assert till.mails(payable) == ["event_cancelled"]


def test_rounds_are_paced_and_resumable(till, tier):
    for _ in range(3):
        place(till, tier, stage=OrderStage.QUEUED)
    cancel(till, tier)
    assert [undo(till, limit=2) for _ in range(3)] == [2, 1, 0]


def test_a_refund_under_way_is_waited_for(till, tier):
    captured = place(till, tier, stage=OrderStage.HELD)
    till.open(captured)
    till.pay(captured)
    till.refund(captured, 100)
    cancel(till, tier)
    assert [undo(till) for _ in range(2)] == [1, 0]
    assert till.refunds(captured)[1].amount == till.read(captured).total - 100


def test_a_charge_that_went_back_before_is_not_refunded_again(till, tier):
    captured = place(till, tier, stage=OrderStage.HELD)
    till.open(captured)
    till.pay(captured)
    till.receive(till.event({"object": "payment_intent", "id": till.add_stray(captured)}))
    till.carry_out(till.refunds(captured)[0].id)
    cancel(till, tier)
    undo(till)
    assert [refund.reason for refund in till.refunds(captured)] == ["late_payment", "event_cancelled"]
    till.carry_out(till.refunds(captured)[1].id)
    assert till.read(captured).status is OrderStatus.REFUNDED
    assert sum(amount for _, amount in till.ledger(captured)) == 0


def test_a_failing_refund_follows_itself_in_growing_pauses(till, tier, gateway):
    captured = place(till, tier, stage=OrderStage.HELD)
    till.open(captured)
    till.pay(captured)
    cancel(till, tier)
    undo(till)
    gateway.fail("refund", REFUSED)
    till.carry_out(till.refunds(captured)[0].id)
    assert undo(till) == 0
    follower = till.refunds(captured)[1]
    assert (follower.attempt, follower.status) == (2, AttemptStatus.CREATED)
    till.carry_out(follower.id)
    assert till.read(captured).status is OrderStatus.REFUNDED


def test_a_free_order_only_loses_its_tickets(till):
    with till.sessions.begin() as session, bound_to(session):
        tier = TicketTierFactory(price=0)
    free = place(till, tier, stage=OrderStage.HELD)
    till.open(free)
    cancel(till, tier)
    undo(till)
    order = till.read(free)
    assert (order.status, order.reason) == (OrderStatus.CANCELLED, OrderReason.EVENT_CANCELLED)
    assert [ticket.status for ticket in till.tickets(free)] == [TicketStatus.CANCELLED]
    assert [item.desired_state for item in order.items] == [InventoryState.RELEASED]


def test_orders_of_other_events_stay(till, tier):
    with till.sessions.begin() as session, bound_to(session):
        EventFactory(status=EventStatus.CANCELLED)
    place(till, tier, stage=OrderStage.QUEUED)
    assert undo(till) == 0


def test_what_ended_between_the_look_and_the_lock_is_left_alone(till, tier, monkeypatch):
    order_id = place(till, tier, stage=OrderStage.QUEUED)
    cancel(till, tier)
    locking = cancelled_events.lock_order

    def end_first(session, locked_id):
        till.give_up(locked_id, OrderReason.BUYER_CANCELLED)
        return locking(session, locked_id)

    monkeypatch.setattr(cancelled_events, "lock_order", end_first)
    undo(till)
    with till.sessions() as session:
        assert session.get_one(Order, order_id).reason is OrderReason.BUYER_CANCELLED


def take(till, tier, **values):
    order_id = place(till, tier, stage=OrderStage.HELD, **values)
    till.open(order_id)
    till.pay(order_id)
    return order_id


def dispute(till, order_id, status, amount=None):
    """Let the bank take the money, and decide."""
    dispute_id = till.dispute(order_id, amount).id
    till.hear()
    if status is not AttemptStatus.PROCESSING:
        till.gateway.close_dispute(dispute_id, "lost" if status is AttemptStatus.SUCCEEDED else "won")
        till.hear()


def test_an_order_that_was_refunded_by_ticket_is_completed(till, tier):
    captured = take(till, tier, quantity=3)
    till.refund(captured, tickets=till.tickets(captured)[:1])
    cancel(till, tier)
    undo(till)
    till.carry_out(till.refunds(captured)[-1].id)
    order = till.read(captured)
    assert (order.status, order.refunded, order.reason) == (
        OrderStatus.REFUNDED,
        order.total,
        OrderReason.EVENT_CANCELLED,
    )
    assert [ticket.status for ticket in till.tickets(captured)] == [TicketStatus.REFUNDED] * 3


def test_a_part_that_is_under_way_for_days_does_not_hold_up_the_rest(till, tier):
    captured = take(till, tier, quantity=2)
    slow = till.request_refund(captured, 100)
    cancel(till, tier)
    assert [undo(till) for _ in range(2)] == [1, 0]
    till.carry_out(till.refunds(captured)[1].id)
    order = till.read(captured)
    assert (order.status, order.refunded) == (OrderStatus.REFUNDED, order.total - 100)
    till.gateway.fail("refund", REFUSED)
    till.carry_out(slow)
    till.carry_out(till.refunds(captured)[-1].id)
    assert till.read(captured).refunded == order.total


def test_a_ticket_that_was_used_before_the_event_was_cancelled_goes_back_too(till, tier):
    captured = take(till, tier, quantity=2)
    with till.sessions.begin() as session:
        ticket = session.scalars(select(Ticket).where(Ticket.order_id == captured).limit(1)).one()
        ticket.status, ticket.checked_in_at = TicketStatus.USED, till.now
    cancel(till, tier)
    undo(till)
    till.carry_out(till.refunds(captured)[0].id)
    assert [ticket.status for ticket in till.tickets(captured)] == [TicketStatus.REFUNDED] * 2


@pytest.mark.parametrize("keeps", [True, False])
def test_the_fee_goes_back_whatever_the_events_terms_say(till, tier, keeps):
    captured = take(till, tier)
    with till.sessions.begin() as session:
        session.execute(update(Event).where(Event.id == tier.event_id).values(returns_fees=not keeps))
    cancel(till, tier)
    undo(till)
    till.carry_out(till.refunds(captured)[0].id)
    assert sum(amount for kind, amount in till.ledger(captured) if kind == "fee") == 0


class TestDisputes:
    def test_an_order_waits_for_the_bank(self, till, tier):
        captured = take(till, tier)
        dispute(till, captured, AttemptStatus.PROCESSING)
        cancel(till, tier)
        assert undo(till) == 0
        assert till.read(captured).stage is OrderStage.ISSUING

    def test_one_that_the_bank_has_paid_back_ends_without_a_refund(self, till, tier):
        captured = take(till, tier)
        dispute(till, captured, AttemptStatus.SUCCEEDED)
        cancel(till, tier)
        assert undo(till) == 0
        assert till.read(captured).status is OrderStatus.REFUNDED
        assert till.refunds(captured) == []
        assert [ticket.status for ticket in till.tickets(captured)] == [TicketStatus.CANCELLED]

    def test_one_that_was_won_is_refunded(self, till, tier):
        captured = take(till, tier)
        dispute(till, captured, AttemptStatus.FAILED)
        cancel(till, tier)
        undo(till)
        till.carry_out(till.refunds(captured)[0].id)
        assert till.read(captured).status is OrderStatus.REFUNDED


class TestSeveralRounds:
    ORDERS, ROUND = 70, 50

    def sell(self, till, tier, gateway):
        """Sell more than one round's orders; every tenth has lost a ticket, every tenth has a refund under way."""
        with till.sessions.begin() as session, bound_to(session):
            tier = session.get_one(TicketTier, tier.id)
            tier.quantity = 1000
            orders = [OrderFactory(tier=tier, stage=OrderStage.COMPLETE, quantity=2) for _ in range(self.ORDERS)]
            for order in orders:
                intent = Intent(
                    order.stripe_payment_intent_id, "succeeded", order.total, order.total, "EUR", "", False, None
                )
                gateway.intents[intent.id] = replace(intent, charge_id=order.stripe_charge_id)
            sold = [order.id for order in orders]
        for order_id in sold[::10]:
            till.refund(order_id, tickets=till.tickets(order_id)[:1])
        for order_id in sold[5::10]:
            till.request_refund(order_id, tickets=till.tickets(order_id)[:1])
        return sold

    def test_every_ticket_ends_and_every_cent_goes_back_in_paced_rounds(self, till, tier, gateway):
        sold = self.sell(till, tier, gateway)
        cancel(till, tier)
        rounds = [undo(till, limit=self.ROUND) for _ in range(3)]
        assert rounds == [self.ROUND, len(sold) - self.ROUND, 0]
        gateway.fail("refund", REFUSED)
        while messages := till.heard(RefundPayment):
            for message in messages:
                till.carry_out(message.transaction_id)
        with till.sessions() as session:
            late = session.scalars(
                select(PaymentTransaction.id).where(PaymentTransaction.status == AttemptStatus.CREATED)
            ).all()
        for refund_id in late:
            till.carry_out(refund_id)
        assert (len(late), undo(till)) == (1, 0)
        with till.sessions() as session:
            ends = dict(session.execute(select(Order.status, func.count()).group_by(Order.status)).all())
            open_tickets = session.scalar(select(func.count()).where(Ticket.status != TicketStatus.REFUNDED))
            kept = session.scalar(select(func.sum(Order.total - Order.refunded)))
        assert (ends, open_tickets, kept) == ({OrderStatus.REFUNDED: len(sold)}, 0, 0)
