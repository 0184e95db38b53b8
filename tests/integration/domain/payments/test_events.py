from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import PermanentVendorError, RetryableVendorError
from domain.messages import ReceivePaymentEvent
from domain.payments import events, outcomes
from domain.rules.states import (
    OrderStage,
)

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
        assert self.stalled(till, till.now + timedelta(seconds=40)) == []
        assert self.stalled(till, till.now + timedelta(seconds=80)) == [ReceivePaymentEvent(event)]

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

    def stalled(self, till, before):
        with till.sessions() as session:
            return events.stalled(session, before)
