from typing import get_args

import stripe

from adapters import stripe_gateway
from domain import attempts, payments


def test_every_status_that_stripe_publishes_has_a_meaning():
    published = get_args(get_args(stripe.PaymentIntent.__annotations__["status"])[0])
    assert "requires_payment_method" in published
    assert set(attempts.STATUSES) == set(published)


def test_the_gateways_codes_are_the_ones_that_we_look_for():
    assert attempts.STORED_ERROR == stripe_gateway.STORED_ERROR
    assert payments.UNEXPECTED_STATE == stripe_gateway._UNEXPECTED_STATE
