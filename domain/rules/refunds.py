"""How a refund divides what was charged, in integer minor units."""


def returned_fee(fee: int, total: int, *, before: int, after: int) -> int:
    """Return the part of the platform's fee that goes back when the refunded amount grows from `before` to `after`.

    It is in proportion, as Stripe does with `refund_application_fee` (docs.stripe.com/api/refunds/create). Rounded
    half up over the sum, not over each part, so that the parts of a whole refund always add up to the whole fee.
    """
    return _share(fee, after, total) - _share(fee, before, total)


def _share(fee: int, part: int, total: int) -> int:
    return (2 * fee * part + total) // (2 * total)
