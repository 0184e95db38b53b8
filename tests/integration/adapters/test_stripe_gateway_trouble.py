"""What Stripe, or the way to it, can do to a call of the adapter, and which kind of error each becomes."""

import logging
import threading
from unittest.mock import Mock
from uuid import uuid4

import pytest
import stripe

from adapters.stripe_gateway import StripeGateway
from domain.errors import PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.ports import STORED_ERROR, RefundRequest
from tests.fixtures.payments import asking, key, opened
from tools.stack.stripe.faults import Fault
from tools.stack.stripe.server import running

SECRET = "whsec_trouble"


@pytest.fixture
def standin():
    with running(secret_key="sk_test_contract") as server:
        yield server


@pytest.fixture
def gateway(standin):
    return StripeGateway(
        secret_key="sk_test_contract", webhook_secrets=[SECRET], api_url=standin.url, timeout_seconds=5
    )


def intents_of(standin, request):
    return [
        body
        for body in standin.simulator.store.select("payment_intent", limit=1000)
        if body["metadata"].get("attempt_id") == str(request.reference)
    ]


@pytest.mark.parametrize("name", ["code", "message_code"])
def test_a_refund_that_our_balance_does_not_cover_has_its_code(gateway, monkeypatch, name):
    error = {"type": "invalid_request_error", name: "insufficient_balance_for_refund", "message": "Insufficient funds."}
    refusal = stripe.InvalidRequestError("Insufficient funds.", None, http_status=400, json_body={"error": error})
    monkeypatch.setattr(stripe.RefundService, "create", Mock(side_effect=refusal))
    with pytest.raises(PermanentVendorError) as translated:
        gateway.refund(RefundRequest(uuid4(), "pi_1", 100), key())
    assert translated.value.code == "insufficient_balance_for_refund"


def test_no_secret_reaches_the_logs(gateway, caplog):
    caplog.set_level(logging.DEBUG)
    intent = opened(gateway)
    for secret in (intent.client_secret, "sk_test_contract", "buyer@example.com"):
        assert secret not in caplog.text


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_leaves_the_outcome_unknown(gateway, standin, status):
    standin.simulator.faults.add(Fault(call="payment_intent.create", status=status))
    with pytest.raises(UnknownOutcomeError):
        opened(gateway)


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limit"), (409, "lock_timeout")])
def test_a_busy_stripe_did_nothing(gateway, standin, status, code):
    standin.simulator.faults.add(Fault(call="payment_intent.create", status=status))
    with pytest.raises(RetryableVendorError) as refusal:
        opened(gateway)
    assert not isinstance(refusal.value, UnknownOutcomeError)
    assert refusal.value.code == code


def test_a_cut_after_the_effect_is_unknown_and_the_same_key_finds_it(gateway, standin):
    standin.simulator.faults.add(Fault(call="payment_intent.create", when="after", outcome="cut"))
    request, once = asking(), key()
    with pytest.raises(UnknownOutcomeError):
        gateway.open_intent(request, once)
    intent = gateway.open_intent(request, once)
    assert intent.metadata["attempt_id"] == str(request.reference)
    assert len(intents_of(standin, request)) == 1


def test_a_timeout_is_unknown(standin):
    hasty = StripeGateway(
        secret_key="sk_test_contract", webhook_secrets=[SECRET], api_url=standin.url, timeout_seconds=0.2
    )
    standin.simulator.faults.add(Fault(call="payment_intent.create", when="after", outcome="none", latency_seconds=1))
    request = asking()
    with pytest.raises(UnknownOutcomeError):
        hasty.open_intent(request, key())
    assert len(intents_of(standin, request)) == 1


def test_a_stored_error_says_that_the_key_is_spent(gateway, standin):
    standin.simulator.faults.add(Fault(call="payment_intent.create", when="after", status=500))
    request, once = asking(), key()
    with pytest.raises(UnknownOutcomeError) as first:
        gateway.open_intent(request, once)
    assert first.value.code != STORED_ERROR
    with pytest.raises(UnknownOutcomeError) as second:
        gateway.open_intent(request, once)
    assert second.value.code == STORED_ERROR


def test_reading_is_never_unknown(gateway, standin):
    intent = opened(gateway)
    for fault in (Fault(outcome="cut"), Fault(status=500)):
        standin.simulator.faults.add(fault)
        with pytest.raises(RetryableVendorError) as refusal:
            gateway.find_intent(intent.id)
        assert not isinstance(refusal.value, UnknownOutcomeError)


def test_nobody_listening_means_that_nothing_happened():
    with running() as gone:
        url = gone.url
    gateway = StripeGateway(secret_key="sk_test_x", webhook_secrets=[SECRET], api_url=url, timeout_seconds=1)
    with pytest.raises(RetryableVendorError) as refusal:
        opened(gateway)
    assert not isinstance(refusal.value, UnknownOutcomeError)


def test_a_wrong_key_of_ours_ends_nothing_and_is_told_to_us(standin, caplog):
    gateway = StripeGateway(secret_key="sk_test_wrongandlong", webhook_secrets=[SECRET], api_url=standin.url)
    with pytest.raises(RetryableVendorError) as refusal:
        opened(gateway)
    assert not isinstance(refusal.value, UnknownOutcomeError)
    assert "wrongandlong" not in str(refusal.value) + caplog.text
    assert "stripe.key_refused status=401" in caplog.text


def test_a_key_that_may_not_do_this_ends_nothing(gateway, standin):
    standin.simulator.faults.add(Fault(call="payment_intent.create", status=403))
    with pytest.raises(RetryableVendorError):
        opened(gateway)


def test_a_refusal_of_what_was_asked_is_for_good(gateway):
    with pytest.raises(PermanentVendorError) as refusal:
        opened(gateway, amount=1)
    assert refusal.value.code == "amount_too_small"


def test_two_at_once_with_one_key_open_one_intent(gateway, standin):
    standin.simulator.faults.add(Fault(call="payment_intent.create", outcome="none", latency_seconds=0.5))
    request, once, outcomes = asking(), key(), []
    start = threading.Barrier(2)

    def attempt():
        start.wait(5)
        try:
            outcomes.append(gateway.open_intent(request, once))
        except RetryableVendorError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    refusal = next(outcome for outcome in outcomes if isinstance(outcome, RetryableVendorError))
    assert refusal.code == "idempotency_key_in_use"
    assert len(intents_of(standin, request)) == 1
