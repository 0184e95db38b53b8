from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import RetryableVendorError
from domain.messages import (
    CancelPayment,
    ConfirmPayment,
    OpenPayment,
    SettlePayment,
)
from domain.payments import (
    reconciliation,
)
from domain.rules.states import (
    OrderReason,
    OrderStage,
)

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")


@pytest.fixture
def held(till):
    return till.hold()


@pytest.fixture
def opened(till, held):
    till.open(held)
    return held


class TestStalled:
    def rings(self, till, before=None):
        with till.sessions() as session:
            return reconciliation.stalled(session, before or till.now + timedelta(minutes=2))

    def test_a_held_order_wants_its_payment_opened(self, till, held):
        assert self.rings(till) == [OpenPayment(held)]
        assert self.rings(till, till.now - timedelta(minutes=1)) == []

    def test_an_unsent_confirmation_is_sent(self, till, opened):
        assert self.rings(till) == []
        till.request(opened)
        assert self.rings(till) == [ConfirmPayment(opened)]

    def test_a_delayed_opening_is_repeated_with_pauses_between(self, till, held, gateway):
        gateway.fail("open_intent", DOWN)
        till.open(held)
        assert self.rings(till) == [OpenPayment(held)]
        with till.sessions.begin() as session:
            charge = session.merge(till.charge(held))
            charge.created_at = till.now - timedelta(minutes=5)
        assert self.rings(till, till.now + timedelta(seconds=10)) == []
        assert self.rings(till, till.now + timedelta(seconds=20)) == [OpenPayment(held)]

    def test_a_payment_that_is_processing_is_read(self, till, opened, gateway):
        intent_id = till.read(opened).stripe_payment_intent_id
        gateway.intents[intent_id] = replace(gateway.intents[intent_id], status="processing")
        till.settle(opened)
        assert self.rings(till) == [SettlePayment(opened)]

    def test_an_expiring_order_is_cancelled(self, till, opened):
        till.give_up(opened, OrderReason.HOLD_EXPIRED)
        assert self.rings(till) == [CancelPayment(opened)]

    def test_an_order_that_waits_for_its_buyer_is_not_stalled(self, till, opened):
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT
        assert self.rings(till) == []


def change_intent(till, order_id, **values):
    intent_id = till.read(order_id).stripe_payment_intent_id
    till.gateway.intents[intent_id] = replace(till.gateway.intents[intent_id], **values)


class TestReconcile:
    def test_everything_settles_without_a_webhook(self, till):
        paid, unpaid = till.hold(), till.hold()
        for order_id in (paid, unpaid):
            till.open(order_id)
        till.pay_by_client(paid)
        assert set(till.reconcile()) == {paid, unpaid}
        assert till.read(paid).stage is OrderStage.ISSUING
        assert till.read(unpaid).stage is OrderStage.AWAITING_PAYMENT

    def test_the_longest_unseen_come_first(self, busy_till):
        till = busy_till
        first, second = till.hold(), till.hold()
        for order_id in (first, second):
            till.open(order_id)
        till.settle(first)
        till.pay_by_client(second)
        assert till.reconcile(limit=1) == [second]
        assert till.read(second).stage is OrderStage.ISSUING

    def test_what_was_just_seen_is_left_to_its_webhook(self, till, opened, gateway):
        assert self.ring(till, till.now) == []
        assert "find_intent" not in gateway.calls

    def test_what_was_rung_counts_as_seen(self, busy_till):
        till = busy_till
        order_id = till.hold()
        till.open(order_id)
        opened_at = till.charge(order_id).updated_at
        assert self.ring(till, opened_at + timedelta(seconds=6)) == [SettlePayment(order_id)]
        assert till.charge(order_id).updated_at > opened_at
        assert self.ring(till, till.charge(order_id).updated_at + timedelta(seconds=5)) == []

    def test_the_provider_is_not_asked_by_the_reconciler_itself(self, till, opened, gateway):
        self.ring(till, till.now + timedelta(seconds=10))
        assert "find_intent" not in gateway.calls

    def test_a_confirmation_that_is_due_is_left_to_its_own_ring(self, till, opened):
        till.request(opened)
        assert till.reconcile() == []
        till.give_up(opened, OrderReason.HOLD_EXPIRED)
        assert till.reconcile() == [opened]

    def ring(self, till, now):
        with till.sessions.begin() as session:
            reconciliation.reconcile(session, now)
        return till.heard(SettlePayment)

    def test_an_intent_that_is_gone_does_not_stop_the_others(self, till, gateway):
        gone, paid = till.hold(), till.hold()
        for order_id in (gone, paid):
            till.open(order_id)
        till.pay_by_client(paid)
        del gateway.intents[till.read(gone).stripe_payment_intent_id]
        till.reconcile()
        assert till.read(paid).stage is OrderStage.ISSUING

    def test_an_open_intent_of_a_closed_order_is_rung_to_be_cancelled(self, till, opened):
        till.give_up(opened, OrderReason.HOLD_EXPIRED)
        till.advance(seconds=120)
        till.expire()
        till.heard(CancelPayment)
        till.reconcile()
        assert till.heard(CancelPayment) == [CancelPayment(opened)]
