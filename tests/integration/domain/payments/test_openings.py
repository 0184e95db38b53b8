from dataclasses import replace
from datetime import timedelta

import pytest

from domain import payout_accounts
from domain.errors import PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.messages import CancelPayment, ReadAccount, RenderTickets, ServeTier
from domain.payments import (
    attempts,
)
from domain.payments.openings import ACCOUNT_REFUSALS
from domain.ports import STORED_ERROR
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

    @pytest.mark.parametrize("code", sorted(ACCOUNT_REFUSALS))
    def test_an_account_that_stopped_taking_money_is_read_and_done_without(self, till, gateway, code):
        account = gateway.open_account(None, "by-hand")
        with till.sessions.begin() as session, bound_to(session):
            promoter = PromoterFactory(stripe_account_id=account.id)
            held = hold(TicketTierFactory(event=EventFactory(promoter=promoter)))
        gateway.fail("open_intent", PermanentVendorError("not there", code=code))
        till.open(held)
        assert till.read(held).stage is OrderStage.PAYMENT_DELAYED
        assert till.heard(ReadAccount) == [ReadAccount(account.id)]
        payout_accounts.read_account(till.sessions, gateway, account.id, till.now)
        till.open(held)
        assert till.read(held).stage is OrderStage.AWAITING_PAYMENT
        assert [charge.provider_account_id for charge in till.charges(held)] == [account.id, None]

    def test_an_account_is_not_tried_twice_for_an_order_though_nothing_confirms_its_refusal(self, till, gateway):
        account = gateway.open_account(None, "by-hand")
        with till.sessions.begin() as session, bound_to(session):
            promoter = PromoterFactory(stripe_account_id=account.id)
            held = hold(TicketTierFactory(event=EventFactory(promoter=promoter)))
        gateway.fail("open_intent", PermanentVendorError("not there", code=min(ACCOUNT_REFUSALS)))
        till.open(held)
        till.open(held)
        assert till.read(held).stage is OrderStage.AWAITING_PAYMENT
        assert [charge.provider_account_id for charge in till.charges(held)] == [account.id, None]

    def test_such_a_refusal_without_an_account_is_a_refusal(self, till, gateway):
        with till.sessions.begin() as session, bound_to(session):
            held = hold(TicketTierFactory(event=EventFactory(promoter=PromoterFactory(stripe_account_id=None))))
        gateway.fail("open_intent", PermanentVendorError("not there", code=min(ACCOUNT_REFUSALS)))
        till.open(held)
        assert till.read(held).reason is OrderReason.PAYMENT_FAILED

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
