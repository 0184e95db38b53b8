"""Currencies as the payment provider counts them: minor units, and the smallest, largest and finest charge.

Amounts are always integers of the currency's minor unit; how they are priced stands in `pricing`.
"""

MINOR_UNIT_EXPONENTS = {
    # Whole units only.
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"), 0
    ),
    **dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3),
}
"""Decimals of the minor unit where they are not two (docs.stripe.com/currencies#minor-units)."""

CHARGE_STEPS = {
    # The last of the three decimals must be 0.
    **{currency: 10 for currency, digits in MINOR_UNIT_EXPONENTS.items() if digits == 3},  # noqa: PLR2004 decimals
    # Without decimals in life, with two at the provider, which must be 00.
    **dict.fromkeys(("ISK", "UGX"), 100),
}
"""Minor units of which every charge is a multiple (docs.stripe.com/currencies: three-decimal, special cases)."""

MINIMUM_CHARGES = {
    "AED": 200,
    "AUD": 50,
    "BGN": 100,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "CZK": 1500,
    "DKK": 250,
    "EUR": 50,
    "GBP": 30,
    "HKD": 400,
    "HUF": 17500,
    "INR": 50,
    "JPY": 50,
    "MXN": 1000,
    "MYR": 200,
    "NOK": 300,
    "NZD": 50,
    "PLN": 200,
    "RON": 200,
    "SEK": 300,
    "SGD": 50,
    "THB": 1000,
    "USD": 50,
}
"""docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, in minor units."""

MAXIMUM_CHARGE = 99_999_999
"""Eight digits, on the same page; three currencies allow more, which no ticket needs."""


def exponent(currency: str) -> int:
    """Return how many decimals the currency's minor unit has."""
    return MINOR_UNIT_EXPONENTS.get(currency, 2)


def minimum_charge(currency: str) -> int:
    """Return the smallest amount that can be charged; one minor unit where the provider publishes none."""
    return MINIMUM_CHARGES.get(currency, 1)


def charge_step(currency: str) -> int:
    """Return the minor units of which every amount that is charged or refunded must be a multiple."""
    return CHARGE_STEPS.get(currency, 1)


def written(amount: int, currency: str) -> str:
    """Return the amount as a person reads it in a sentence, such as `12.50 EUR`."""
    digits = exponent(currency)
    whole, part = divmod(abs(amount), 10**digits)
    fraction = f".{part:0{digits}}" if digits else ""
    return f"{'-' if amount < 0 else ''}{whole}{fraction} {currency}"
