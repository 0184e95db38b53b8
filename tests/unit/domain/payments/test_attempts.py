from typing import get_args

import stripe

from domain.payments import attempts


def test_every_status_that_stripe_publishes_has_a_meaning():
    published = get_args(get_args(stripe.PaymentIntent.__annotations__["status"])[0])
    assert "requires_payment_method" in published
    assert set(attempts.STATUSES) == set(published)
