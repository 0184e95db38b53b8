"""We send only what Stripe documents: the SDK's types of parameters are generated from Stripe's own description."""

import pytest
import stripe
from stripe import params

from tests.fixtures.published_stripe import CALLS, PublishedStripe, open_gateway, public_calls, use_every_call
from tests.fixtures.stripe_shapes import Shape, unknown
from tools.stack.stripe.objects import API_VERSION


@pytest.fixture
def requests(monkeypatch):
    published = PublishedStripe(Shape(filled=True, expanded=False))
    monkeypatch.setattr(stripe.RequestsClient, "request", published.answer)
    gateway = open_gateway()
    assert use_every_call(gateway) == public_calls(gateway)
    return published.requests


def test_we_send_only_parameters_and_words_that_stripe_documents(requests):
    assert len(requests) >= 8
    for call, form in requests:
        assert unknown(form, CALLS[call][0]) == [], call


@pytest.mark.parametrize(
    ("planted", "documented", "found"),
    [
        ({"colour": "red"}, params.PaymentIntentCreateParams, ["colour"]),
        ({"transfer_data": {"account": "acct_1"}}, params.PaymentIntentCreateParams, ["transfer_data[account]"]),
        ({"amount": {"value": "1"}}, params.RefundCreateParams, ["amount"]),
        ({"expand": {"0": {"deep": "1"}}}, params.RefundCreateParams, ["expand[0]"]),
        ({"created": {"after": "1"}}, params.EventListParams, ["created[after]"]),
        ({"cancellation_reason": "bored"}, params.PaymentIntentCancelParams, ["cancellation_reason"]),
        ({"stripe_account": "acct_1"}, params.RefundCreateParams, ["stripe_account"]),
        ({"metadata": {"ours": "1"}, "amount": "1"}, params.RefundCreateParams, []),
        ({"created": {"gte": "1"}, "types": {"0": "refund.created"}}, params.EventListParams, []),
    ],
)
def test_what_is_not_documented_would_be_found(planted, documented, found):
    assert unknown(planted, documented) == found


def test_the_version_that_the_sdk_speaks_is_the_one_that_the_stand_in_knows():
    assert stripe.api_version == API_VERSION
