"""The two worlds in which a payment gateway keeps its contract; the stand-in is shared by a module's tests."""

import pytest

from adapters.stripe_gateway import StripeGateway
from tests.fixtures.payments import SECRET, InMemory, OverHTTP
from tools.stack.stripe import balance
from tools.stack.stripe.server import running


@pytest.fixture(scope="module")
def standin():
    with running(webhook_secret=SECRET, secret_key="sk_test_contract") as server:
        yield server


@pytest.fixture
def stripe_gateway(standin):
    yield StripeGateway(secret_key="sk_test_contract", webhook_secrets=[SECRET], api_url=standin.url, timeout_seconds=5)
    standin.simulator.faults.clear()
    balance.let_suffice(standin.simulator.store, sufficient=True)


@pytest.fixture(params=["stripe", "fake"])
def world(request, standin):
    if request.param == "fake":
        return InMemory(SECRET)
    return OverHTTP(request.getfixturevalue("stripe_gateway"), standin)


@pytest.fixture
def gateway(world):
    return world.gateway
