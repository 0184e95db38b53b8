import pytest

from domain.errors import PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.messages import CancelPayment
from domain.ports import STORED_ERROR
from domain.rules.states import (
    AttemptStatus,
    InventoryState,
    OrderReason,
    OrderStage,
)

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")
CUT = UnknownOutcomeError("Stripe did not answer.", code="connection")
STORED = UnknownOutcomeError("An error occurred.", code=STORED_ERROR)
REFUSED = PermanentVendorError("No.", code="amount_too_small")


@pytest.fixture
def held(till):
    return till.hold()


@pytest.fixture
def opened(till, held):
    till.open(held)
    return held


class TestCancel:
    @pytest.fixture
    def expiring(self, till, opened):
        till.give_up(opened, OrderReason.HOLD_EXPIRED)
        return opened

    def test_the_intent_is_cancelled_and_the_order_closed(self, till, expiring, gateway):
        assert till.heard(CancelPayment) == [CancelPayment(expiring)]
        till.cancel(expiring)
        order = till.read(expiring)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.HOLD_EXPIRED)
        assert gateway.intents[order.stripe_payment_intent_id].status == "canceled"
        assert [item.desired_state for item in order.items] == [InventoryState.RELEASED]
        assert till.mails(expiring) == ["order_cancelled"]

    def test_one_that_was_paid_in_the_last_moment_is_confirmed(self, till, expiring):
        till.pay_by_client(expiring)
        till.cancel(expiring)
        order = till.read(expiring)
        assert (order.stage, order.reason) == (OrderStage.ISSUING, None)
        assert len(till.tickets(expiring)) == 1

    def test_the_stock_is_kept_while_the_provider_is_away_but_not_for_ever(self, till, expiring, gateway):
        gateway.fail("cancel_intent", DOWN)
        till.cancel(expiring)
        till.advance(seconds=119)
        assert till.expire() == 0
        assert till.read(expiring).stage is OrderStage.EXPIRING
        till.advance(seconds=1)
        assert till.expire() == 1
        order = till.read(expiring)
        assert (order.stage, order.reason, order.hold_expires_at) == (OrderStage.CLOSED, OrderReason.HOLD_EXPIRED, None)
        assert [item.desired_state for item in order.items] == [InventoryState.RELEASED]
        assert till.mails(expiring) == ["order_cancelled"]
        assert till.charge(expiring).is_pending
        till.reconcile()
        assert till.heard(CancelPayment)[-1] == CancelPayment(expiring)
        till.cancel(expiring)
        assert till.charge(expiring).status is AttemptStatus.CANCELLED

    def test_its_end_needs_no_worker_and_keeps_its_reason(self, till, opened, gateway):
        till.give_up(opened, OrderReason.BUYER_CANCELLED)
        till.advance(seconds=120)
        till.expire()
        assert till.read(opened).reason is OrderReason.BUYER_CANCELLED
        assert gateway.calls == ["open_intent"]
        assert till.mails(opened) == []

    def test_a_worker_killed_after_cancelling_closes_the_order_next_time(self, till, expiring, gateway):
        gateway.fail("cancel_intent", KeyboardInterrupt(), after=True)
        with pytest.raises(KeyboardInterrupt):
            till.cancel(expiring)
        till.cancel(expiring)
        assert till.read(expiring).stage is OrderStage.CLOSED

    def test_an_order_without_an_intent_closes_at_once(self, till, held, gateway):
        till.give_up(held, OrderReason.BUYER_CANCELLED)
        till.cancel(held)
        order = till.read(held)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.BUYER_CANCELLED)
        assert gateway.calls == []
        assert till.mails(held) == []

    def test_an_intent_that_was_never_recorded_cannot_be_paid_and_keeps_no_stock(self, till, held, gateway):
        gateway.fail("open_intent", CUT, after=True)
        till.open(held)
        till.give_up(held, OrderReason.HOLD_EXPIRED)
        till.cancel(held)
        assert till.read(held).stage is OrderStage.CLOSED
        assert till.charge(held).status is AttemptStatus.CANCELLED

    def test_an_order_that_can_be_paid_is_left_alone(self, till, opened, gateway):
        till.cancel(opened)
        assert gateway.calls == ["open_intent"]
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT
