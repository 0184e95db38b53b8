import pytest

from tools.stack.stripe.cards import CARDS, name_of_method, name_of_number, name_of_token


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_numbers_pass_the_luhn_check(card):
    digits = [int(digit) for digit in reversed(card.number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    assert (sum(digits[::2]) + sum(doubled)) % 10 == 0


def test_both_spellings_of_a_decline_are_the_same_card():
    assert CARDS["chargeDeclined"] == CARDS["visa_chargeDeclined"]


def test_a_card_is_found_by_method_token_and_number():
    assert name_of_method("pm_card_visa") == "visa"
    assert name_of_token("tok_visa") == "visa"
    assert CARDS[name_of_number("4000 0000 0000 9995")].decline.decline_code == "insufficient_funds"


@pytest.mark.parametrize("name", ["visa", "pm_visa", "pm_card_", "pm_card_nothing", "tok_visa"])
def test_other_names_are_no_test_methods(name):
    assert name_of_method(name) is None


def test_other_numbers_are_no_test_cards():
    assert name_of_number("4111111111111111") is None
