from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from domain.errors import PermanentVendorError, RetryableVendorError
from domain.messages import ReceivePaymentEvent
from domain.models import WebhookEvent
from domain.payments import events, outcomes
from domain.payments.pauses import SPREAD
from domain.rules.states import OrderStage, OrderStatus

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")


@pytest.fixture
def opened(till):
    order_id = till.hold(quantity=2)
    till.open(order_id)
    return order_id


def change_intent(till, order_id, **values):
    intent_id = till.read(order_id).stripe_payment_intent_id
    till.gateway.intents[intent_id] = replace(till.gateway.intents[intent_id], **values)


class TestReceiveEvent:
    def test_a_webhook_settles_the_order_it_names(self, till, opened):
        till.pay_by_client(opened)
        event = till.event({"object": "payment_intent", "id": till.read(opened).stripe_payment_intent_id})
        till.receive(event)
        assert till.read(opened).stage is OrderStage.ISSUING
        assert till.inbox(event).processed_at == till.now

    def test_its_body_is_not_believed(self, till, opened):
        intent_id = till.read(opened).stripe_payment_intent_id
        event = till.event({"object": "payment_intent", "id": intent_id, "status": "succeeded"})
        till.receive(event)
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT
        assert till.inbox(event).processed_at is not None

    def test_a_doubled_message_reads_once(self, till, opened, gateway):
        event = till.event({"object": "payment_intent", "id": till.read(opened).stripe_payment_intent_id})
        till.receive(event)
        till.receive(event)
        assert gateway.calls.count("find_intent") == 1

    def test_a_charges_event_leads_to_its_intent(self, till, opened):
        till.pay_by_client(opened)
        intent_id = till.read(opened).stripe_payment_intent_id
        till.receive(till.event({"object": "charge", "id": "ch_1", "payment_intent": intent_id}, "charge.succeeded"))
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_an_event_about_a_settled_charge_asks_nobody(self, till, opened, gateway):
        till.pay_by_client(opened)
        intent_id = till.read(opened).stripe_payment_intent_id
        till.receive(till.event({"object": "payment_intent", "id": intent_id}))
        asked = gateway.calls.count("find_intent")
        event = till.event({"object": "charge", "id": "ch_1", "payment_intent": intent_id}, "charge.succeeded")
        till.receive(event)
        assert gateway.calls.count("find_intent") == asked
        assert till.inbox(event).processed_at is not None

    def test_an_unknown_intent_is_kept_and_found_later(self, till, gateway):
        held = till.hold()
        event = till.event({"object": "payment_intent", "id": "pi_fake1"})
        till.receive(event)
        assert till.inbox(event).processed_at is None
        assert till.inbox(event).error
        till.open(held)
        assert till.read(held).stripe_payment_intent_id == "pi_fake1"
        till.pay_by_client(held)
        till.receive(event)
        assert till.read(held).stage is OrderStage.ISSUING
        assert till.inbox(event).processed_at is not None
        assert till.inbox(event).error is None

    def test_an_unknown_intent_is_not_tried_for_ever(self, till):
        event = till.event({"object": "payment_intent", "id": "pi_elsewhere"})
        later = till.now + timedelta(days=30)
        for _ in range(events.ATTEMPTS):
            assert self.stalled(till, later) == [ReceivePaymentEvent(event)]
            till.receive(event)
        assert self.stalled(till, later) == []
        assert till.inbox(event).processed_at is None

    def test_pauses_between_tries_grow(self, till):
        event = till.event({"object": "payment_intent", "id": "pi_elsewhere"})
        assert self.stalled(till, till.now + timedelta(seconds=5)) == [ReceivePaymentEvent(event)]
        for _ in range(5):
            till.receive(event)
        assert self.stalled(till, till.now + timedelta(seconds=128 * (1 - SPREAD) - 2)) == []
        assert self.stalled(till, till.now + timedelta(seconds=128 * (1 + SPREAD) + 2)) == [ReceivePaymentEvent(event)]

    @pytest.mark.parametrize("trouble", [DOWN, PermanentVendorError("No such intent.", code="resource_missing")])
    def test_an_event_whose_object_cannot_be_read_is_kept(self, till, opened, gateway, trouble):
        event = till.event({"object": "payment_intent", "id": till.read(opened).stripe_payment_intent_id})
        gateway.fail("find_intent", trouble)
        till.receive(event)
        assert till.inbox(event).processed_at is None
        till.receive(event)
        assert till.inbox(event).processed_at is not None

    @pytest.mark.parametrize(
        ("subject", "kind"),
        [
            ({"object": "payment_intent", "id": "pi_1"}, "payment_intent.created"),
            ({"object": "account", "id": "acct_1"}, "account.external_account.created"),
            ({"object": "charge", "id": "ch_1", "payment_intent": None}, "charge.succeeded"),
            ({}, "ping"),
            ("nonsense", "ping"),
        ],
    )
    def test_what_says_nothing_to_us_is_done_with(self, till, gateway, subject, kind):
        event = till.event(subject, kind)
        till.receive(event)
        assert till.inbox(event).processed_at is not None
        assert gateway.calls == []

    def test_a_failure_while_acting_leaves_the_event_unprocessed(self, till, opened, monkeypatch):
        till.pay_by_client(opened)
        event = till.event({"object": "payment_intent", "id": till.read(opened).stripe_payment_intent_id})
        monkeypatch.setattr(outcomes.tickets, "issue", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            till.receive(event)
        assert till.inbox(event).processed_at is None
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT
        assert till.ledger(opened) == []

    def test_tries_last_for_most_of_a_day(self, till):
        event = till.event({"object": "payment_intent", "id": "pi_elsewhere"})
        self.try_often(till, event, events.ATTEMPTS - 1)
        assert self.stalled(till, till.now + timedelta(hours=18) * (1 - SPREAD)) == []
        assert self.stalled(till, till.now + timedelta(hours=19) * (1 + SPREAD)) == [ReceivePaymentEvent(event)]

    def test_however_long_the_provider_is_away_the_event_is_not_given_up(self, till, opened, gateway):
        event = till.event({"object": "payment_intent", "id": till.read(opened).stripe_payment_intent_id})
        for _ in range(events.ATTEMPTS + 5):
            gateway.fail("find_intent", DOWN)
            till.receive(event)
        assert self.stalled(till, till.now + timedelta(days=3)) == [ReceivePaymentEvent(event)]

    def test_an_event_whose_object_is_gone_is_given_up(self, till, opened, gateway):
        event = till.event({"object": "payment_intent", "id": till.read(opened).stripe_payment_intent_id})
        for _ in range(events.ATTEMPTS):
            gateway.fail("find_intent", PermanentVendorError("No such intent.", code="resource_missing"))
            till.receive(event)
        assert self.stalled(till, till.now + timedelta(days=3)) == []

    def try_often(self, till, event, times):
        for _ in range(times):
            till.receive(event)

    def stalled(self, till, before):
        with till.sessions() as session:
            return events.stalled(session, before)


class TestOtherAccounts:
    @pytest.mark.parametrize("kind", ["payment_intent", "refund", "dispute", "charge"])
    def test_what_happened_on_another_account_moves_nothing_though_it_names_our_intent(
        self, till, opened, gateway, kind
    ):
        till.pay_by_client(opened)
        intent_id = till.read(opened).stripe_payment_intent_id
        subject = {"object": kind, "id": intent_id, "payment_intent": intent_id}
        event = till.event(subject, f"{kind}.updated", account="acct_other")
        asked = len(gateway.calls)
        till.receive(event)
        assert len(gateway.calls) == asked
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT
        assert till.inbox(event).processed_at == till.now
        assert "another account" in till.inbox(event).error

    def test_the_inbox_keeps_where_it_happened(self, till, gateway):
        till.hear(gateway.add_event("charge.succeeded", {"object": "charge"}, account="acct_other"))
        with till.sessions() as session:
            assert session.scalars(select(WebhookEvent.account)).all() == ["acct_other"]

    def test_what_is_about_the_account_itself_is_no_mistake(self, till):
        event = till.event({"object": "account", "id": "acct_1"}, "account.updated", account="acct_1")
        till.receive(event)
        assert (till.inbox(event).processed_at, till.inbox(event).error) == (till.now, None)


class TestAnyOrder:
    def test_a_whole_story_told_backwards_and_twice_ends_as_it_does_forwards(self, till, gateway):
        order_id = till.paid()
        till.refund(order_id, 700)
        dispute = till.dispute(order_id)
        gateway.close_dispute(dispute.id, "lost")
        story = list(gateway.events)
        till.hear(*reversed(story))
        till.hear(*story)
        order = till.read(order_id)
        assert (order.status, order.refunded) == (OrderStatus.REFUNDED, order.total)
        assert [entry for entry in till.ledger(order_id) if entry[0] not in {"charge", "fee"}] == [
            ("refund", -700),
            ("dispute", 700 - order.total),
        ]
        with till.sessions() as session:
            assert session.scalars(select(WebhookEvent.processed_at)).all() == [till.now] * len(story)
