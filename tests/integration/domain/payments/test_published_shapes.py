"""Stripe's published objects, complete, through our whole way: webhook, inbox, handler, reading, order."""

import hashlib
import hmac
import json
import time

import pytest
import stripe
from sqlalchemy import select

from domain import webhooks
from domain.models import WebhookEvent
from domain.rules.states import AttemptStatus, OrderStage, PaymentStatus
from tests.fixtures.published_stripe import SECRET, PublishedStripe, open_gateway
from tests.fixtures.stripe_shapes import FUTURE, Shape

SHAPES = {
    "null": Shape(filled=False, expanded=False),
    "null, of the future": Shape(filled=False, expanded=False, future=True),
    "filled": Shape(filled=True, expanded=False),
    "filled, of the future": Shape(filled=True, expanded=False, future=True),
    "filled, expanded": Shape(filled=True, expanded=True),
    "filled, expanded, of the future": Shape(filled=True, expanded=True, future=True),
}


@pytest.fixture(params=SHAPES)
def published(request, monkeypatch):
    world = PublishedStripe(SHAPES[request.param])
    monkeypatch.setattr(stripe.RequestsClient, "request", world.answer)
    return world


@pytest.fixture
def till(till):
    till.gateway = open_gateway()
    return till


@pytest.fixture
def opened(till, published):
    """Return an order whose intent is open; what we use of an intent is given, the rest is whatever Stripe may say."""
    order_id = till.hold()
    order = till.read(order_id)
    published.known[stripe.PaymentIntent] = {
        "id": "pi_published",
        "status": "requires_payment_method",
        "amount": order.total,
        "amount_received": 0,
        "currency": order.currency.lower(),
        "livemode": False,
    }
    till.open(order_id)
    assert till.read(order_id).stage is OrderStage.AWAITING_PAYMENT
    return order_id


def become(published, status, **more):
    published.known[stripe.PaymentIntent] |= {"status": status} | more


def pay(published):
    become(published, "succeeded", amount_received=published.known[stripe.PaymentIntent]["amount"])


def deliver(till, published, type_, subject):
    """Let a signed webhook come in and be handled; return its row of the inbox."""
    payload = json.dumps(published.event(type_, subject)).encode()
    moment = int(time.time())
    mac = hmac.new(SECRET.encode(), f"{moment}.".encode() + payload, hashlib.sha256).hexdigest()
    event = till.gateway.read_event(payload, f"t={moment},v1={mac}")
    with till.sessions.begin() as session:
        assert webhooks.store(session, "stripe", [event]) == 1
    with till.sessions() as session:
        event_id = session.scalars(select(WebhookEvent.id).where(WebhookEvent.provider_event_id == event.id)).one()
    till.receive(event_id)
    return till.inbox(event_id)


class TestPayments:
    def test_an_intent_that_succeeded_confirms_its_order(self, till, published, opened):
        pay(published)
        event = deliver(till, published, "payment_intent.succeeded", published.make(stripe.PaymentIntent))
        assert event.processed_at is not None
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_so_does_its_charge(self, till, published, opened):
        pay(published)
        reference = published.make(stripe.PaymentIntent) if published.shape.expanded else "pi_published"
        charge = published.make(stripe.Charge, payment_intent=reference)
        assert deliver(till, published, "charge.succeeded", charge).processed_at is not None
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_a_declined_attempt_leaves_the_order_to_its_buyer(self, till, published, opened):
        intent = published.make(stripe.PaymentIntent)
        assert deliver(till, published, "payment_intent.payment_failed", intent).processed_at is not None
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT

    def test_a_status_that_we_do_not_know_ends_nothing_and_the_next_reading_settles(self, till, published, opened):
        become(published, FUTURE)
        intent = published.make(stripe.PaymentIntent)
        assert deliver(till, published, "payment_intent." + FUTURE, intent).processed_at is not None
        assert till.charge(opened).status is AttemptStatus.UNKNOWN
        pay(published)
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_a_stored_event_holds_no_client_secret(self, till, published, opened):
        event = deliver(till, published, "payment_intent.created", published.make(stripe.PaymentIntent))
        assert "client_secret" not in json.dumps(event.payload)


class TestRefunds:
    def test_a_refund_that_succeeded_is_booked(self, till, published, opened):
        pay(published)
        till.settle(opened)
        order = till.read(opened)
        refund_id = till.request_refund(opened)
        published.known[stripe.Refund] = {
            "id": "re_published",
            "status": "pending",
            "amount": order.total,
            "currency": order.currency.lower(),
            "payment_intent": published.make(stripe.PaymentIntent) if published.shape.expanded else "pi_published",
            "metadata": {"refund_id": str(refund_id)},
        }
        till.carry_out(refund_id)
        assert till.read(opened).payment_status is PaymentStatus.COMPLETED
        published.known[stripe.Refund]["status"] = "succeeded"
        event = deliver(till, published, "refund.updated", published.make(stripe.Refund))
        assert event.processed_at is not None
        assert till.read(opened).payment_status is PaymentStatus.REFUNDED


@pytest.mark.parametrize("kind", [stripe.Dispute, stripe.Account], ids=["dispute", "account"])
def test_complete_events_of_other_objects_do_no_harm(till, published, opened, kind):
    deliver(till, published, f"{kind.OBJECT_NAME}.{FUTURE}", published.make(kind, id="of_nobody"))
    assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT


class TestTranslation:
    def test_an_intent_says_what_was_published(self, published):
        body = published.make(stripe.PaymentIntent, id="pi_1", currency="eur")
        published.known[stripe.PaymentIntent] = body
        intent = open_gateway().find_intent("pi_1")
        assert (intent.id, intent.currency, intent.status) == ("pi_1", "EUR", body["status"])
        assert intent.charge_id == identifier(body["latest_charge"])
        assert intent.account_id == identifier((body["transfer_data"] or {}).get("destination"))

    def test_a_refund_says_what_was_published(self, published):
        body = published.make(stripe.Refund, id="re_1", currency="eur")
        published.known[stripe.Refund] = body
        refund = open_gateway().find_refund("re_1")
        assert (refund.id, refund.currency, refund.status) == ("re_1", "EUR", body["status"] or "pending")
        assert refund.intent_id == identifier(body["payment_intent"])


def identifier(reference):
    return reference["id"] if isinstance(reference, dict) else reference
