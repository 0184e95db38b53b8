from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from domain.errors import ConflictError, PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.messages import ConfirmPayment, SettlePayment
from domain.models import Order
from domain.ports import STORED_ERROR, UNEXPECTED_STATE
from domain.rules.states import (
    AttemptStatus,
    OrderReason,
    OrderStage,
    PaymentStatus,
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


class TestRequestConfirmation:
    def test_the_order_is_processing_and_its_hold_extended_once(self, till, opened):
        expires_at = till.read(opened).hold_expires_at
        till.request(opened)
        order = till.read(opened)
        assert order.stage is OrderStage.PROCESSING
        assert order.hold_expires_at == expires_at + timedelta(seconds=120)
        assert till.heard(ConfirmPayment) == [ConfirmPayment(opened)]
        till.gateway.fail("confirm_intent", REFUSED)
        till.confirm(opened)
        till.request(opened)
        assert till.read(opened).hold_expires_at == expires_at + timedelta(seconds=120)

    def test_the_extension_ends_at_the_limit(self, till):
        limit = till.now + timedelta(seconds=330)
        held = till.hold(hold_limit_at=limit)
        till.open(held)
        till.request(held)
        assert till.read(held).hold_expires_at == limit

    def test_a_second_request_is_refused_while_one_runs(self, till, opened):
        till.request(opened)
        with pytest.raises(ConflictError) as refusal:
            till.request(opened)
        assert refusal.value.code == "payment-in-progress"
        assert till.charge(opened).confirmations == 1

    def test_the_intent_must_be_there(self, till, held):
        with pytest.raises(ConflictError) as refusal:
            till.request(held)
        assert refusal.value.code == "payment-not-ready"

    def test_a_hold_that_ran_out_cannot_be_paid(self, till, opened):
        till.advance(seconds=301)
        with pytest.raises(ConflictError) as refusal:
            till.request(opened)
        assert refusal.value.code == "hold-expired"

    def test_a_hold_without_an_end_is_not_extended(self, till, opened):
        with till.sessions.begin() as session:
            session.execute(update(Order).where(Order.id == opened).values(hold_expires_at=None))
        till.request(opened)
        assert till.read(opened).hold_expires_at is None

    @pytest.mark.parametrize("stage", [OrderStage.QUEUED, OrderStage.CLOSED, OrderStage.COMPLETE, OrderStage.EXPIRING])
    def test_other_stages_cannot_be_paid(self, till, stage):
        order_id = till.hold(stage=stage)
        with pytest.raises(ConflictError) as refusal:
            till.request(order_id)
        assert refusal.value.code == "not-payable"


class TestConfirm:
    def test_a_good_card_confirms_the_order(self, till, opened):
        till.pay(opened)
        order = till.read(opened)
        assert (order.stage, order.payment_status) == (OrderStage.ISSUING, PaymentStatus.COMPLETED)
        assert till.charge(opened).status is AttemptStatus.SUCCEEDED
        assert not till.charge(opened).confirm_due
        assert till.timeline(opened) == ["payment_opened", "payment_started", "hold_extended", "confirmed"]

    def test_a_decline_is_not_the_end(self, till, opened, gateway):
        till.pay(opened, "chargeDeclinedInsufficientFunds")
        order, charge = till.read(opened), till.charge(opened)
        assert order.stage is OrderStage.AWAITING_PAYMENT
        assert charge.error_code == "insufficient_funds"
        assert "payment_failed" in till.timeline(opened)
        till.pay(opened)
        assert till.read(opened).stage is OrderStage.ISSUING
        assert till.charge(opened).error_code is None
        assert len(gateway.intents) == 1

    def test_3d_secure_waits_for_the_buyer(self, till, opened, gateway):
        till.pay(opened, "authenticationRequired")
        order, charge = till.read(opened), till.charge(opened)
        assert order.stage is OrderStage.AWAITING_PAYMENT
        assert charge.status is AttemptStatus.REQUIRES_ACTION
        assert charge.next_action["type"] == "use_stripe_sdk"
        assert till.timeline(opened)[-1] == "payment_action_required"
        gateway.authenticate(order.stripe_payment_intent_id)
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.ISSUING
        assert till.charge(opened).next_action is None

    def test_a_refused_authentication_can_be_tried_again(self, till, opened, gateway):
        till.pay(opened, "authenticationRequired")
        gateway.authenticate(till.read(opened).stripe_payment_intent_id, succeed=False)
        till.settle(opened)
        assert till.charge(opened).error_code == "payment_intent_authentication_failure"
        assert till.timeline(opened)[-1] == "payment_failed"
        till.pay(opened)
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_an_unknown_payment_method_is_shown_and_stays_shown(self, till, opened):
        till.pay(opened, "nobody")
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT
        assert till.charge(opened).error_code == "resource_missing"
        till.settle(opened)
        assert till.charge(opened).error_code == "resource_missing"

    @pytest.mark.parametrize("had_effect", [False, True])
    def test_trouble_delays_and_the_same_key_is_repeated(self, till, opened, gateway, had_effect):
        gateway.fail("confirm_intent", CUT, after=had_effect)
        till.pay(opened)
        assert till.read(opened).stage is OrderStage.PAYMENT_DELAYED
        till.confirm(opened)
        assert till.read(opened).stage is OrderStage.ISSUING
        assert till.ledger(opened)[0] == ("charge", till.read(opened).total)
        assert len([entry for entry in till.ledger(opened) if entry[0] == "charge"]) == 1

    def test_a_worker_killed_after_the_charge_charges_once(self, till, opened, gateway):
        till.request(opened)
        gateway.fail("confirm_intent", KeyboardInterrupt(), after=True)
        with pytest.raises(KeyboardInterrupt):
            till.confirm(opened)
        assert till.read(opened).stage is OrderStage.PROCESSING
        till.confirm(opened)
        assert till.read(opened).stage is OrderStage.ISSUING
        assert len(till.tickets(opened)) == 1

    def test_a_killed_workers_charge_is_settled_by_its_webhook_as_well(self, till, opened, gateway):
        till.request(opened)
        gateway.fail("confirm_intent", KeyboardInterrupt(), after=True)
        with pytest.raises(KeyboardInterrupt):
            till.confirm(opened)
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.ISSUING
        till.confirm(opened)
        assert len(till.tickets(opened)) == 1

    def test_a_stored_error_is_left_behind_by_a_new_key(self, till, opened, gateway):
        gateway.fail("confirm_intent", STORED)
        till.pay(opened)
        assert till.charge(opened).confirmations == 2
        till.confirm(opened)
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_a_refusal_after_an_unknown_outcome_is_decided_by_a_reading(self, till, opened, gateway):
        gateway.fail("confirm_intent", CUT, after=True)
        till.pay(opened)
        gateway.fail("confirm_intent", REFUSED)
        till.confirm(opened)
        assert till.heard(SettlePayment) == [SettlePayment(opened)]
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_an_intent_that_takes_no_confirmation_now_is_read(self, till, opened, gateway):
        till.request(opened)
        intent_id = till.read(opened).stripe_payment_intent_id
        gateway.intents[intent_id] = replace(gateway.intents[intent_id], status="processing")
        gateway.fail("confirm_intent", RetryableVendorError("Not now.", code=UNEXPECTED_STATE))
        till.confirm(opened)
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.PROCESSING
        assert till.charge(opened).status is AttemptStatus.PROCESSING

    def test_a_reading_from_before_the_confirmation_changes_nothing(self, till, opened):
        till.request(opened)
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.PROCESSING
        assert till.charge(opened).confirm_due

    def test_an_answer_that_comes_after_the_next_request_is_not_taken_for_its_own(
        self, till, opened, gateway, monkeypatch
    ):
        confirming = gateway.confirm_intent
        till.request(opened, "chargeDeclined")

        def overtaken(intent_id, method, key):
            answer = confirming(intent_id, method, key)
            monkeypatch.setattr(gateway, "confirm_intent", confirming)
            till.confirm(opened)
            till.request(opened, "visa")
            return answer

        monkeypatch.setattr(gateway, "confirm_intent", overtaken)
        till.confirm(opened)
        assert till.charge(opened).confirm_due
        assert till.read(opened).stage is OrderStage.PROCESSING
        till.confirm(opened)
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_trouble_that_lasts_is_told_once(self, till, opened, gateway):
        till.request(opened)
        for _ in range(2):
            gateway.fail("confirm_intent", DOWN)
            till.confirm(opened)
        assert till.timeline(opened).count("payment_delayed") == 1
        assert till.charge(opened).status is AttemptStatus.REQUIRES_PAYMENT_METHOD

    def test_an_order_that_ended_while_the_provider_was_called_is_left_to_its_end(
        self, till, opened, gateway, monkeypatch
    ):
        confirming = gateway.confirm_intent

        def confirm_slowly(intent_id, method, key):
            answer = confirming(intent_id, method, key)
            till.give_up(opened, OrderReason.HOLD_EXPIRED)
            return answer

        till.request(opened)
        monkeypatch.setattr(gateway, "confirm_intent", confirm_slowly)
        till.confirm(opened)
        assert till.read(opened).stage is OrderStage.EXPIRING
        till.cancel(opened)
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_an_order_that_is_expiring_is_not_confirmed(self, till, opened, gateway):
        till.request(opened)
        till.give_up(opened, OrderReason.HOLD_EXPIRED)
        till.confirm(opened)
        assert "confirm_intent" not in gateway.calls
