from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from domain import attempts, payments
from domain.errors import ConflictError, PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.messages import CancelPayment, ConfirmPayment, OpenPayment, RenderTickets, ServeTier, SettlePayment
from domain.models import Order
from domain.ports import STORED_ERROR, UNEXPECTED_STATE
from domain.rules.states import (
    AttemptStatus,
    EventStatus,
    InventoryState,
    OrderReason,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    StripeAccountState,
)
from tests.factories import EventFactory, OrderFactory, PromoterFactory, TicketTierFactory, bound_to

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


def hold(tier, **values):
    return OrderFactory(stage=OrderStage.HELD, with_payment=False, tier=tier, **values).id


class TestOpen:
    def test_the_buyer_gets_an_intent_and_a_clock(self, till, held, gateway):
        till.open(held)
        order = till.read(held)
        intent = gateway.intents[order.stripe_payment_intent_id]
        assert (intent.amount, intent.currency) == (order.total, order.currency)
        assert order.stage is OrderStage.AWAITING_PAYMENT
        assert order.stripe_client_secret == intent.client_secret
        assert order.hold_expires_at == till.now + timedelta(seconds=300)
        charge = till.charge(held)
        assert (charge.status, charge.provider_transaction_id) == (AttemptStatus.REQUIRES_PAYMENT_METHOD, intent.id)
        assert charge.idempotency_key == f"order:{held}:open:1"
        assert till.timeline(held) == ["payment_opened"]

    def test_the_clock_never_passes_the_limit_of_the_hold(self, till):
        limit = till.now + timedelta(seconds=60)
        held = till.hold(hold_limit_at=limit)
        till.open(held)
        assert till.read(held).hold_expires_at == limit

    def test_a_doubled_message_changes_nothing(self, till, opened, gateway):
        before = till.read(opened)
        till.open(opened)
        assert gateway.calls == ["open_intent"]
        assert till.read(opened).version == before.version

    def test_the_money_goes_to_a_ready_account_less_the_fees(self, till, gateway, monkeypatch):
        with till.sessions.begin() as session, bound_to(session):
            promoter = PromoterFactory(stripe_account_id="acct_ready")
            tier = TicketTierFactory(event=EventFactory(promoter=promoter))
            held = hold(tier)
        requests = []
        opening = gateway.open_intent
        monkeypatch.setattr(
            gateway, "open_intent", lambda request, key: requests.append(request) or opening(request, key)
        )
        till.open(held)
        order = till.read(held)
        assert requests[0].destination.account_id == "acct_ready"
        assert requests[0].destination.application_fee == order.fees + order.absorbed_fees > 0
        assert till.charge(held).provider_account_id == "acct_ready"

    @pytest.mark.parametrize("state", [StripeAccountState.PENDING, StripeAccountState.RESTRICTED])
    def test_an_account_that_is_not_ready_gets_nothing(self, till, gateway, state):
        with till.sessions.begin() as session, bound_to(session):
            promoter = PromoterFactory(stripe_account_state=state)
            held = hold(TicketTierFactory(event=EventFactory(promoter=promoter)))
        till.open(held)
        assert gateway.intents[till.read(held).stripe_payment_intent_id].account_id is None

    def test_an_intent_of_another_amount_than_asked_for_is_not_believed(self, till, held, gateway, monkeypatch):
        opening = gateway.open_intent
        monkeypatch.setattr(gateway, "open_intent", lambda request, key: replace(opening(request, key), amount=1))
        till.open(held)
        assert till.charge(held).error_code == "mismatch"

    def test_a_free_order_is_confirmed_without_the_provider(self, till, gateway):
        with till.sessions.begin() as session, bound_to(session):
            held = hold(TicketTierFactory(price=0), quantity=2)
        till.open(held)
        order = till.read(held)
        assert (order.stage, order.status) == (OrderStage.ISSUING, OrderStatus.CONFIRMED)
        assert order.payment_status is PaymentStatus.COMPLETED
        assert len(till.tickets(held)) == 2
        assert [item.desired_state for item in order.items] == [InventoryState.SOLD]
        assert gateway.calls == [] == till.charges(held) == till.ledger(held)
        assert till.heard(RenderTickets) == [RenderTickets(held)]

    def test_a_free_order_of_a_cancelled_event_is_not_confirmed(self, till):
        with till.sessions.begin() as session, bound_to(session):
            tier = TicketTierFactory(price=0, event=EventFactory(status=EventStatus.CANCELLED))
            held = hold(tier)
        till.open(held)
        order = till.read(held)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.EVENT_CANCELLED)
        assert till.tickets(held) == []
        assert till.mails(held) == ["event_cancelled"]


class TestTroubleOpening:
    @pytest.mark.parametrize("trouble", [DOWN, CUT])
    def test_the_order_is_delayed_and_the_same_key_repeated(self, till, held, gateway, trouble):
        gateway.fail("open_intent", trouble)
        till.open(held)
        assert till.read(held).stage is OrderStage.PAYMENT_DELAYED
        till.open(held)
        assert till.read(held).stage is OrderStage.AWAITING_PAYMENT
        assert till.charge(held).attempt == 1
        assert till.timeline(held) == ["payment_delayed", "payment_opened"]

    def test_a_worker_killed_after_the_call_leaves_one_intent(self, till, held, gateway):
        gateway.fail("open_intent", KeyboardInterrupt(), after=True)
        with pytest.raises(KeyboardInterrupt):
            till.open(held)
        assert till.read(held).stage is OrderStage.HELD
        assert till.charge(held).status is AttemptStatus.CREATED
        till.open(held)
        assert till.read(held).stripe_payment_intent_id in gateway.intents
        assert len(gateway.intents) == 1

    def test_an_unknown_outcome_that_had_effect_is_found_by_its_key(self, till, held, gateway):
        gateway.fail("open_intent", CUT, after=True)
        till.open(held)
        assert till.charge(held).status is AttemptStatus.UNKNOWN
        till.open(held)
        assert len(gateway.intents) == 1
        assert till.read(held).stage is OrderStage.AWAITING_PAYMENT

    def test_a_stored_error_gives_way_to_a_new_attempt(self, till, held, gateway):
        gateway.fail("open_intent", STORED)
        till.open(held)
        till.open(held)
        first, second = till.charges(held)
        assert first.status is AttemptStatus.FAILED
        assert second.idempotency_key == f"order:{held}:open:2"
        assert till.read(held).stripe_payment_intent_id == second.provider_transaction_id

    def test_a_key_is_not_repeated_once_it_may_be_forgotten(self, till, held, gateway):
        gateway.fail("open_intent", CUT)
        till.open(held)
        till.advance(hours=23, minutes=1)
        till.open(held)
        assert [charge.attempt for charge in till.charges(held)] == [1, 2]

    def test_trouble_that_lasts_is_told_once(self, till, held, gateway):
        for _ in range(2):
            gateway.fail("open_intent", DOWN)
            till.open(held)
        assert till.timeline(held) == ["payment_delayed"]

    @pytest.mark.parametrize("answer", [None, CUT, REFUSED])
    def test_of_two_workers_at_once_the_slower_changes_nothing(self, till, held, gateway, monkeypatch, answer):
        opening = gateway.open_intent

        def overtaken(request, key):
            monkeypatch.setattr(gateway, "open_intent", opening)
            till.open(held)
            if answer is not None:
                raise answer
            return opening(request, key)

        monkeypatch.setattr(gateway, "open_intent", overtaken)
        till.open(held)
        assert till.read(held).stage is OrderStage.AWAITING_PAYMENT
        assert till.charge(held).status is AttemptStatus.REQUIRES_PAYMENT_METHOD
        assert till.timeline(held) == ["payment_opened"]
        assert till.heard(CancelPayment) == []

    def test_a_refusal_after_the_order_began_to_end_leaves_that_to_its_end(self, till, held, gateway, monkeypatch):
        def refuse(request, key):
            till.give_up(held, OrderReason.BUYER_CANCELLED)
            raise REFUSED

        monkeypatch.setattr(gateway, "open_intent", refuse)
        till.open(held)
        assert till.read(held).stage is OrderStage.EXPIRING
        assert till.charge(held).status is AttemptStatus.FAILED
        till.cancel(held)
        assert till.read(held).reason is OrderReason.BUYER_CANCELLED

    def test_a_refusal_closes_the_order_and_returns_its_stock(self, till, held, gateway):
        gateway.fail("open_intent", REFUSED)
        till.open(held)
        order = till.read(held)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.PAYMENT_FAILED)
        assert order.payment_status is PaymentStatus.FAILED
        assert [item.desired_state for item in order.items] == [InventoryState.RELEASED]
        assert till.heard(ServeTier)
        assert till.charge(held).status is AttemptStatus.FAILED
        assert till.mails(held) == ["order_cancelled"]

    def test_an_intent_opened_for_an_order_that_ended_is_cancelled(self, till, held, gateway, monkeypatch):
        opening = gateway.open_intent

        def open_slowly(request, key):
            intent = opening(request, key)
            till.give_up(held, OrderReason.BUYER_CANCELLED)
            till.cancel(held)
            return intent

        monkeypatch.setattr(gateway, "open_intent", open_slowly)
        till.open(held)
        assert till.read(held).stage is OrderStage.CLOSED
        assert till.heard(CancelPayment)[-1] == CancelPayment(held)
        till.cancel(held)
        (intent,) = gateway.intents.values()
        assert intent.status == "canceled"
        assert till.charge(held).status is AttemptStatus.CANCELLED

    def test_a_slow_answer_of_an_attempt_that_gave_way_is_left_behind(self, till, held, gateway, monkeypatch):
        opening = gateway.open_intent
        gateway.fail("open_intent", STORED)
        till.open(held)

        def overtaken(request, key):
            monkeypatch.setattr(gateway, "open_intent", opening)
            till.open(held)
            return replace(opening(request, "another"), id="pi_slow")

        with till.sessions.begin() as session:
            charge = session.merge(till.charge(held))
            charge.error_code = None
        monkeypatch.setattr(gateway, "open_intent", overtaken)
        monkeypatch.setattr(attempts, "KEY_LIFE", timedelta(seconds=-1))
        till.open(held)
        order = till.read(held)
        assert order.stage is OrderStage.AWAITING_PAYMENT
        assert order.stripe_payment_intent_id != "pi_slow"


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


class TestStalled:
    def rings(self, till, before=None):
        with till.sessions() as session:
            return payments.stalled(session, before or till.now + timedelta(minutes=2))

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
