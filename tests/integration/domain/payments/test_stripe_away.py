"""While Stripe is away the workers fail fast and the buyers are told; afterwards everything settles, nothing twice."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters import stripe_circuit
from adapters.stripe_circuit import FAILURES
from adapters.stripe_gateway import StripeGateway
from domain import sweep
from domain.messages import CancelPayment, ConfirmPayment, OpenPayment, RefundPayment, SettlePayment
from domain.rules.states import OrderStage, PaymentStatus
from tests.fixtures.stripe_standin import wait_until
from tools.stack.stripe.faults import Fault
from tools.stack.stripe.server import running

THREADS = 8
"""As many as a worker of the payments queue has."""
TIMEOUT_SECONDS = 0.4


@pytest.fixture
def standin():
    with running() as server:
        yield server


@pytest.fixture
def till(busy_till, standin, monkeypatch):
    config = replace(stripe_circuit._CONFIG, wait_duration_in_open=0.3)
    monkeypatch.setattr(stripe_circuit, "_CONFIG", config)
    busy_till.gateway = StripeGateway(
        secret_key="sk_test_away", webhook_secrets=["whsec_away"], api_url=standin.url, timeout_seconds=TIMEOUT_SECONDS
    )
    return busy_till


@pytest.fixture
def calls(standin, monkeypatch):
    """Return a list that grows with every call that reaches Stripe."""
    reached, strike = [], standin.simulator.outage.strike
    monkeypatch.setattr(standin.simulator.outage, "strike", lambda: (reached.append(time.monotonic()), strike())[1])
    return reached


def work(act, subjects):
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(act, subjects))


def tend(till):
    """Do once what the sweep and the workers do with everything that stands still."""
    acts = {
        OpenPayment: lambda message: till.open(message.order_id),
        ConfirmPayment: lambda message: till.confirm(message.order_id),
        SettlePayment: lambda message: till.settle(message.order_id),
        CancelPayment: lambda message: till.cancel(message.order_id),
        RefundPayment: lambda message: till.carry_out(message.transaction_id),
    }
    with till.sessions() as session:
        messages = sweep.find_stalled(session, till.now + timedelta(hours=2))
    work(lambda message: acts[type(message)](message), [message for message in messages if type(message) in acts])


def tend_until(till, condition):
    wait_until(lambda: condition() or tend(till), seconds=20)


def stages(till, orders):
    return {till.read(order_id).stage for order_id in orders}


def objects(standin, kind):
    return standin.simulator.store.select(kind, limit=1000)


class TestAway:
    @pytest.mark.parametrize("outcome", ["error", "cut", "hang"])
    def test_few_calls_are_made_and_every_order_says_that_its_payment_is_delayed(self, till, standin, calls, outcome):
        orders = [till.hold() for _ in range(40)]
        standin.simulator.outage.begin(60, outcome)
        began = time.monotonic()
        work(till.open, orders)
        spent = time.monotonic() - began
        assert stages(till, orders) == {OrderStage.PAYMENT_DELAYED}
        # Those that were under way when it opened, and one trial for each pause.
        assert len(calls) <= FAILURES + THREADS + spent / 0.3

        standin.simulator.outage.end()
        tend_until(till, lambda: stages(till, orders) == {OrderStage.AWAITING_PAYMENT})
        opened = Counter(body["metadata"]["order_id"] for body in objects(standin, "payment_intent"))
        assert opened == Counter(map(str, orders))

    def test_what_was_paid_before_the_answer_was_lost_is_paid_once(self, till, standin):
        orders = [till.hold() for _ in range(20)]
        work(till.open, orders)
        for order_id in orders:
            till.request(order_id)
        standin.simulator.faults.add(
            Fault(call="payment_intent.confirm", when="after", outcome="cut", times=2 * FAILURES)
        )
        work(till.confirm, orders)
        assert OrderStage.PAYMENT_DELAYED in stages(till, orders)
        tend_until(till, lambda: stages(till, orders) == {OrderStage.ISSUING})
        charged = Counter(body["payment_intent"] for body in objects(standin, "charge"))
        assert sorted(charged.values()) == [1] * len(orders)
        for order_id in orders:
            assert [kind for kind, _ in till.ledger(order_id)].count("charge") == 1

    def test_what_was_refunded_before_the_answer_was_lost_is_refunded_once(self, till, standin):
        orders = [till.paid() for _ in range(12)]
        refunds = [till.request_refund(order_id) for order_id in orders]
        standin.simulator.faults.add(Fault(call="refund.create", when="after", outcome="cut", times=FAILURES))
        work(till.carry_out, refunds)

        def all_refunded():
            return all(till.read(order_id).payment_status is PaymentStatus.REFUNDED for order_id in orders)

        assert not all_refunded()
        tend_until(till, all_refunded)
        returned = Counter(body["payment_intent"] for body in objects(standin, "refund"))
        assert sorted(returned.values()) == [1] * len(orders)
