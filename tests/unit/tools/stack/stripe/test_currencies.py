import pytest

from tools.stack.stripe.currencies import check_amount, checked_currency, spoken
from tools.stack.stripe.errors import RefusalError


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(1250, "eur", "€12.50"), (500, "jpy", "¥500"), (1234, "kwd", "1.234 KWD"), (123456, "usd", "$1,234.56")],
)
def test_amounts_are_spoken_in_their_decimals(amount, currency, text):
    assert spoken(amount, currency) == text


def test_currencies_are_taken_in_any_case():
    assert checked_currency("EUR") == "eur"


def test_unknown_currencies_are_refused():
    with pytest.raises(RefusalError):
        checked_currency("xyz")


@pytest.mark.parametrize(("least", "currency"), [(50, "eur"), (30, "gbp"), (250, "dkk"), (50, "jpy"), (1, "kwd")])
def test_the_smallest_charge_is_taken_and_one_less_is_not(least, currency):
    check_amount(least, currency)
    with pytest.raises(RefusalError) as refusal:
        check_amount(least - 1, currency)
    assert refusal.value.body["error"]["code"] == "amount_too_small"


def test_eight_digits_are_the_limit():
    with pytest.raises(RefusalError) as refusal:
        check_amount(100_000_000, "eur")
    assert refusal.value.body["error"]["code"] == "amount_too_large"
