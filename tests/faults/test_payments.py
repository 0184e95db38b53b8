"""Money while parts are away: webhooks, Stripe itself, and the worker that asks it."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from settings import Settings

pytestmark = pytest.mark.timeout(300)

OUTAGE_SECONDS = 60


class Stripe:
    """Stripe's stand-in, as a rehearsal and a buyer's own client meet it."""

    def __init__(self, environment):
        self._url = environment["STRIPE_API_URL"]
        self._key = {"Authorization": f"Bearer {environment['STRIPE_SECRET_KEY']}"}

    def control(self, path, **fields):
        answer = requests.post(f"{self._url}/_standin/{path}", json=fields, timeout=10)
        assert answer.status_code == 200, answer.text

    def end_all_trouble(self):
        for kind in ("faults", "outage"):
            requests.delete(f"{self._url}/_standin/{kind}", timeout=10)
        self.control("webhooks", deliver=True)

    def pay(self, order):
        """Pay as Stripe.js does, past us."""
        intent = order["payment"]["intent_id"]
        form = {"payment_method": "pm_card_visa"}
        answer = requests.post(f"{self._url}/v1/payment_intents/{intent}/confirm", form, headers=self._key, timeout=10)
        assert answer.json()["status"] == "succeeded"

    def charges(self, order):
        query = {"payment_intent": order["payment"]["intent_id"]}
        answer = requests.get(f"{self._url}/v1/charges", query, headers=self._key, timeout=10)
        return [charge for charge in answer.json()["data"] if charge["status"] == "succeeded"]


@pytest.fixture
def stripe(stack):
    at_stripe = Stripe(stack.environment)
    yield at_stripe
    at_stripe.end_all_trouble()


def payable(buyer, tier):
    return buyer.poll(buyer.order(tier).json(), lambda now: now["stage"] == "awaiting_payment")


def is_complete(order):
    return order["stage"] == "complete"


def check_statement(stack, tier):
    """Stripe, the ledger and the tickets agree to the last cent."""
    promoter = stack.person("promoter@example.com")
    deadline = time.monotonic() + 60
    while True:
        answer = promoter.get(f"/api/v1/events/{tier['event_id']}/statement")
        if answer.status_code == 200:
            assert (answer.json()["difference"], answer.json()["mismatches"]) == (0, [])
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.5)


def test_with_webhooks_off_every_paid_order_settles_within_the_reconcilers_period(stack, stripe):
    stripe.control("webhooks", deliver=False)
    tier = stack.tier()
    buyers = stack.people(10)
    # The period, the queue, and the QR codes on two busy cores.
    settled_within = Settings.model_fields["reconcile_seconds"].default + 30
    with ThreadPoolExecutor(10) as pool:
        orders = list(pool.map(lambda buyer: payable(buyer, tier), buyers))
        for order in orders:
            stripe.pay(order)
        done = list(pool.map(lambda buyer, order: buyer.poll(order, is_complete, settled_within), buyers, orders))
    assert {len(order["tickets"]) for order in done} == {1}


def test_stripe_down_for_a_minute_in_mid_sale_delays_and_charges_nobody_twice(stack, stripe):
    tier = stack.tier()
    buyers = stack.people(15)
    early, paying, late = buyers[:5], buyers[5:10], buyers[10:]
    with ThreadPoolExecutor(15) as pool:
        before = list(pool.map(lambda buyer: payable(buyer, tier), [*early, *paying]))
        stripe.control("outage", seconds=OUTAGE_SECONDS, outcome="cut")
        began = time.monotonic()
        for buyer, order in zip(paying, before[5:], strict=True):
            answer = buyer.post(f"/api/v1/orders/{order['id']}/confirm", {"payment_method": "pm_card_visa"})
            assert answer.status_code == 202
        delayed = [buyer.order(tier).json() for buyer in late]
        for buyer, order in [*zip(paying, before[5:], strict=True), *zip(late, delayed, strict=True)]:
            buyer.poll(order, lambda now: now["stage"] == "payment_delayed")
        assert time.monotonic() - began < OUTAGE_SECONDS
        paid = list(pool.map(lambda buyer, order: buyer.poll(order, is_complete, 120), paying, before[5:]))
        assert time.monotonic() - began > OUTAGE_SECONDS / 2
        paid += pool.map(lambda buyer, order: buyer.pay(order), [*early, *late], [*before[:5], *delayed])
    assert [len(stripe.charges(order)) for order in paid] == [1] * 15
    check_statement(stack, tier)


def test_a_payments_worker_that_is_killed_between_the_charge_and_its_record_charges_once(stack, stripe):
    tier = stack.tier()
    (buyer,) = stack.people(1)
    order = payable(buyer, tier)
    stripe.control("webhooks", deliver=False)
    stripe.control("faults", call="payment_intent.confirm", when="after", outcome="none", latency_seconds=5)
    buyer.post(f"/api/v1/orders/{order['id']}/confirm", {"payment_method": "pm_card_visa"})
    deadline = time.monotonic() + 10
    while not stripe.charges(order):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stack.part("payments").kill()
    order = buyer.poll(order, is_complete, seconds=60)
    assert (len(stripe.charges(order)), order["payment_status"], len(order["tickets"])) == (1, "completed", 1)
