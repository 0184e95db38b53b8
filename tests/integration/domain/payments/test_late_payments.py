from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from domain.errors import PermanentVendorError, RetryableVendorError
from domain.messages import ConcludeLatePayment, RefundPayment, ServeTier
from domain.models import Event, Order, TicketTier, User
from domain.payments import late_payments
from domain.rules.states import (
    AttemptStatus,
    EventStatus,
    InventoryState,
    OrderReason,
    OrderStage,
    OrderStatus,
    PaymentStatus,
)
from tests.factories import OrderFactory, TicketTierFactory, WaitlistFactory, bound_to

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")


def lapse(till, order_id, reason=OrderReason.HOLD_EXPIRED):
    """Let an order close whose intent could not be cancelled, and so can still be paid."""
    till.give_up(order_id, reason)
    till.gateway.fail("cancel_intent", DOWN)
    till.cancel(order_id)
    till.advance(seconds=120)
    till.expire()
    assert till.read(order_id).stage is OrderStage.CLOSED


def pay_late(till, order_id):
    till.pay_by_client(order_id)
    till.settle(order_id)


@pytest.fixture
def lapsed(till):
    order_id = till.hold(quantity=2)
    till.open(order_id)
    lapse(till, order_id)
    till.serve(order_id)
    return order_id


def tier_of(till, order_id):
    with till.sessions() as session:
        return session.get_one(TicketTier, till.read(order_id).items[0].tier_id)


def take_stock(till, order_id, *, left):
    """Let others hold the tier's stock but for what is left."""
    tier = tier_of(till, order_id)
    with till.sessions.begin() as session, bound_to(session):
        tier = session.get_one(TicketTier, tier.id)
        OrderFactory(tier=tier, quantity=tier.available - left, stage=OrderStage.HELD, with_payment=False)


def states(till, order_id):
    return [item.inventory_state for item in till.read(order_id).items]


def counters_agree(till):
    with till.sessions() as session:
        return not session.execute(
            text("SELECT FROM tier_counters WHERE (reserved, sold) <> (counted_reserved, counted_sold)")
        ).all()


class TestRevival:
    def test_stock_that_is_still_there_makes_the_order_whole(self, till, lapsed):
        pay_late(till, lapsed)
        assert set(till.heard(ServeTier)) >= {ServeTier(item.tier_id) for item in till.read(lapsed).items}
        till.serve(lapsed)
        assert till.heard(ConcludeLatePayment) == [ConcludeLatePayment(lapsed)]
        till.conclude(lapsed)
        order = till.read(lapsed)
        assert (order.stage, order.status, order.payment_status, order.reason, order.cancelled_at) == (
            OrderStage.ISSUING,
            OrderStatus.CONFIRMED,
            PaymentStatus.COMPLETED,
            None,
            None,
        )
        assert len(till.tickets(lapsed)) == 2
        assert till.refunds(lapsed) == []
        assert till.timeline(lapsed)[-2:] == ["late_payment", "confirmed"]
        assert till.mails(lapsed) == ["order_cancelled", "order_confirmed"]
        till.serve(lapsed)
        assert states(till, lapsed) == [InventoryState.SOLD]
        assert (tier_of(till, lapsed).reserved, tier_of(till, lapsed).sold) == (0, 2)
        assert counters_agree(till)

    def test_stock_that_is_gone_sends_the_money_back(self, till, lapsed):
        take_stock(till, lapsed, left=1)
        pay_late(till, lapsed)
        till.serve(lapsed)
        till.conclude(lapsed)
        (refund,) = till.refunds(lapsed)
        assert refund.idempotency_key == f"order:{lapsed}:refund:1"
        assert till.heard(RefundPayment) == [RefundPayment(refund.id)]
        till.carry_out(refund.id)
        order = till.read(lapsed)
        assert (order.stage, order.status, order.payment_status, order.refunded) == (
            OrderStage.CLOSED,
            OrderStatus.REFUNDED,
            PaymentStatus.REFUNDED,
            order.total,
        )
        assert till.timeline(lapsed)[-3:] == ["late_payment", "refund_requested", "refunded"]
        assert till.mails(lapsed) == ["order_cancelled", "late_payment_refunded"]
        assert sum(amount for _, amount in till.ledger(lapsed)) == 0
        assert till.tickets(lapsed) == []
        assert states(till, lapsed) == [InventoryState.RELEASED]
        assert counters_agree(till)

    def test_stock_that_had_not_gone_back_yet_is_simply_kept(self, till):
        order_id = till.hold(quantity=2)
        till.open(order_id)
        lapse(till, order_id)
        take_stock(till, order_id, left=0)
        pay_late(till, order_id)
        till.serve(order_id)
        till.conclude(order_id)
        assert till.read(order_id).stage is OrderStage.ISSUING
        assert counters_agree(till)

    def test_a_late_payment_comes_before_who_waits_and_after_what_comes_back(self, till, lapsed):
        take_stock(till, lapsed, left=0)
        tier = tier_of(till, lapsed)
        with till.sessions.begin() as session, bound_to(session):
            tier = session.get_one(TicketTier, tier.id)
            WaitlistFactory(tier=tier, quantity=2)
            waiting = OrderFactory(tier=tier, quantity=2).id
            leaving = OrderFactory(tier=tier, quantity=2, stage=OrderStage.CLOSED, reason=OrderReason.HOLD_EXPIRED)
            leaving.items[0].inventory_state = InventoryState.RESERVED
            leaving.items[0].desired_state = InventoryState.RELEASED
            tier.quantity += 2
            tier.reserved += 2
        pay_late(till, lapsed)
        till.serve(lapsed)
        till.conclude(lapsed)
        assert till.read(lapsed).stage is OrderStage.ISSUING
        assert till.read(waiting).reason is OrderReason.SOLD_OUT
        assert counters_agree(till)

    def test_an_order_over_several_tiers_comes_back_whole_or_not_at_all(self, till):
        with till.sessions.begin() as session, bound_to(session):
            full = TicketTierFactory(quantity=1)
            free = TicketTierFactory(event=full.event, quantity=5)
            order_id = OrderFactory(stage=OrderStage.HELD, with_payment=False, contents={full: 1, free: 1}).id
        till.open(order_id)
        lapse(till, order_id)
        till.serve(order_id)
        with till.sessions.begin() as session, bound_to(session):
            OrderFactory(tier=session.get_one(TicketTier, full.id), stage=OrderStage.HELD, with_payment=False)
        pay_late(till, order_id)
        till.serve(order_id)
        assert set(states(till, order_id)) == {InventoryState.RESERVED, InventoryState.RELEASED}
        till.conclude(order_id)
        till.serve(order_id)
        assert set(states(till, order_id)) == {InventoryState.RELEASED}
        assert len(till.refunds(order_id)) == 1
        assert counters_agree(till)

    def test_nothing_is_concluded_before_every_tier_has_answered(self, till, lapsed):
        pay_late(till, lapsed)
        till.conclude(lapsed)
        assert till.read(lapsed).stage is OrderStage.CLOSED
        assert till.refunds(lapsed) == []

    def test_an_order_whose_money_was_asked_back_meanwhile_gets_no_tickets(self, till, lapsed):
        pay_late(till, lapsed)
        refund_id = till.request_refund(lapsed)
        till.serve(lapsed)
        till.conclude(lapsed)
        assert (till.read(lapsed).stage, till.tickets(lapsed)) == (OrderStage.CLOSED, [])
        till.carry_out(refund_id)
        till.serve(lapsed)
        assert till.read(lapsed).status is OrderStatus.REFUNDED
        assert states(till, lapsed) == [InventoryState.RELEASED]
        assert counters_agree(till)

    def test_concluding_twice_changes_nothing(self, till, lapsed):
        pay_late(till, lapsed)
        till.serve(lapsed)
        till.conclude(lapsed)
        before = till.read(lapsed)
        till.conclude(lapsed)
        till.serve(lapsed)
        till.conclude(lapsed)
        assert till.read(lapsed).version == before.version
        assert len(till.tickets(lapsed)) == 2

    def test_a_limit_per_person_holds_for_late_payments_too(self, till, lapsed):
        with till.sessions.begin() as session, bound_to(session):
            order = session.get_one(Order, lapsed)
            tier = session.get_one(TicketTier, till.read(lapsed).items[0].tier_id)
            tier.max_per_person = 2
            buyer = session.get_one(User, order.user_id)
            OrderFactory(tier=tier, user=buyer, stage=OrderStage.HELD, with_payment=False)
        pay_late(till, lapsed)
        till.serve(lapsed)
        till.conclude(lapsed)
        assert len(till.refunds(lapsed)) == 1

    @pytest.mark.parametrize("moment", ["before", "while it asks", "after it was answered"])
    def test_an_event_that_was_cancelled_keeps_no_late_payment(self, till, lapsed, moment):
        def cancel():
            with till.sessions.begin() as session:
                event_id = session.get_one(Order, lapsed).event_id
                values = {"status": EventStatus.CANCELLED, "cancelled_at": till.now}
                session.execute(update(Event).where(Event.id == event_id).values(values))

        if moment == "before":
            cancel()
        pay_late(till, lapsed)
        if moment == "while it asks":
            cancel()
        till.serve(lapsed)
        if moment == "after it was answered":
            cancel()
        till.conclude(lapsed)
        till.serve(lapsed)
        assert len(till.refunds(lapsed)) == 1
        assert states(till, lapsed) == [InventoryState.RELEASED]

    def test_who_cancelled_gets_the_money_back_even_where_stock_is_left(self, till):
        order_id = till.hold()
        till.open(order_id)
        lapse(till, order_id, OrderReason.BUYER_CANCELLED)
        pay_late(till, order_id)
        assert len(till.refunds(order_id)) == 1
        assert till.heard(ConcludeLatePayment) == []


class TestTrouble:
    def test_a_tier_that_does_not_answer_has_none(self, till, lapsed):
        pay_late(till, lapsed)
        till.advance(seconds=late_payments.ANSWER_LIMIT.total_seconds())
        till.expire()
        assert len(till.refunds(lapsed)) == 1
        assert till.read(lapsed).hold_expires_at is None
        till.serve(lapsed)
        till.conclude(lapsed)
        assert till.read(lapsed).stage is OrderStage.CLOSED
        assert states(till, lapsed) == [InventoryState.RELEASED]

    def test_an_answer_that_nobody_heard_is_rung_for(self, till, lapsed):
        pay_late(till, lapsed)
        till.serve(lapsed)
        with till.sessions() as session:
            soon = session.scalar(select(Order.updated_at).where(Order.id == lapsed)) + timedelta(seconds=1)
            assert late_payments.stalled(session, soon) == [ConcludeLatePayment(lapsed)]
            assert late_payments.stalled(session, soon - timedelta(seconds=1)) == []

    def test_nobody_is_promised_a_hold_meanwhile(self, till, lapsed):
        pay_late(till, lapsed)
        assert till.read(lapsed).promised_until is None

    def test_seeing_it_twice_asks_once(self, till, lapsed):
        pay_late(till, lapsed)
        till.settle(lapsed)
        till.reconcile()
        till.serve(lapsed)
        till.conclude(lapsed)
        assert till.timeline(lapsed).count("late_payment") == 1

    def test_cancelling_an_intent_that_was_paid_late_revives_it_too(self, till, lapsed):
        till.pay_by_client(lapsed)
        till.cancel(lapsed)
        till.serve(lapsed)
        till.conclude(lapsed)
        assert till.read(lapsed).stage is OrderStage.ISSUING

    def test_a_refused_refund_is_tried_again_until_it_succeeds(self, till, lapsed):
        take_stock(till, lapsed, left=0)
        pay_late(till, lapsed)
        till.serve(lapsed)
        till.conclude(lapsed)
        till.gateway.fail("refund", PermanentVendorError("Not enough money.", code="balance_insufficient"))
        (refund,) = till.refunds(lapsed)
        till.carry_out(refund.id)
        first, second = till.refunds(lapsed)
        assert (first.status, second.status) == (AttemptStatus.FAILED, AttemptStatus.CREATED)
        assert second.created_at == first.created_at
        assert "refund_failed" not in till.timeline(lapsed)
        till.carry_out(second.id)
        assert till.read(lapsed).payment_status is PaymentStatus.REFUNDED
