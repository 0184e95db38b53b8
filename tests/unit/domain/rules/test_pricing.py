from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.money import CHARGE_STEPS, MINIMUM_CHARGES, charge_step, exponent, minimum_charge, written
from domain.rules.pricing import Discount, Line, Terms, Totals, add_up, covers_fees, price_line

PRICES = st.integers(0, 99_999_999)
QUANTITIES = st.integers(1, 100)
RATES = st.integers(0, 10_000)
TERMS = st.builds(Terms, RATES, st.integers(0, 10_000), st.booleans(), RATES)


def rounded(amount: int, rate_bps: int) -> int:
    return int((Decimal(amount) * rate_bps / 10_000).quantize(Decimal(1), ROUND_HALF_UP))


def test_a_percentage_and_a_fixed_part_per_ticket_come_on_top() -> None:
    terms = Terms(fee_rate_bps=250, fee_fixed=50, absorbs_fees=False, tax_rate_bps=2500)
    # 3 x 19.99 = 59.97; fee 1.49925 rounds to 1.50, and 3 x 0.50; tax 25 % of 62.97 is 15.7425.
    assert price_line(1999, 3, terms) == Line(1999, 3, subtotal=5997, fees=300, absorbed_fees=0, tax=1574)


def test_absorbed_fees_are_neither_paid_nor_taxed() -> None:
    terms = Terms(fee_rate_bps=250, fee_fixed=50, absorbs_fees=True, tax_rate_bps=2500)
    assert price_line(1999, 3, terms) == Line(1999, 3, subtotal=5997, fees=0, absorbed_fees=300, tax=1499)


def test_free_tickets_carry_nothing() -> None:
    assert price_line(0, 4, Terms(250, 50, False, 2500)) == Line(0, 4, 0, 0, 0, 0)


@pytest.mark.parametrize(("amount", "fee"), [(1, 0), (49, 0), (50, 1), (149, 1), (150, 2)])
def test_a_half_rounds_up(amount: int, fee: int) -> None:
    assert price_line(amount, 1, Terms(100, 0, False, 0)).fees == fee


def test_an_order_adds_rounded_lines_and_does_not_round_again() -> None:
    terms = Terms(fee_rate_bps=100, fee_fixed=0, absorbs_fees=False, tax_rate_bps=0)
    lines = [price_line(50, 1, terms), price_line(50, 1, terms)]
    # One line of 100 would cost a fee of 1; two lines of 50 round half up to 1 each.
    assert add_up(lines) == Totals(subtotal=100, fees=2, absorbed_fees=0, tax=0, total=102)


def test_an_empty_order_costs_nothing() -> None:
    assert add_up([]) == Totals(0, 0, 0, 0, 0)


@given(PRICES, QUANTITIES, TERMS)
def test_each_part_is_the_decimal_one_rounded_half_up(price: int, quantity: int, terms: Terms) -> None:
    line = price_line(price, quantity, terms)
    platform = rounded(price * quantity, terms.fee_rate_bps) + terms.fee_fixed * quantity if price else 0
    assert line.subtotal == price * quantity
    assert line.fees + line.absorbed_fees == platform
    assert (line.fees if terms.absorbs_fees else line.absorbed_fees) == 0
    assert line.tax == rounded(line.subtotal + line.fees, terms.tax_rate_bps)


@given(PRICES, QUANTITIES, TERMS)
def test_who_pays_the_fees_does_not_change_what_the_platform_keeps(price: int, quantity: int, terms: Terms) -> None:
    totals = add_up([price_line(price, quantity, terms)])
    others = add_up([price_line(price, quantity, replace(terms, absorbs_fees=not terms.absorbs_fees))])
    assert totals.application_fee == others.application_fee


@given(st.lists(st.tuples(PRICES, QUANTITIES), max_size=10), TERMS)
def test_totals_add_up(wanted: list[tuple[int, int]], terms: Terms) -> None:
    lines = [price_line(price, quantity, terms) for price, quantity in wanted]
    totals = add_up(lines)
    assert totals.total == totals.subtotal + totals.fees + totals.tax
    assert totals == add_up(list(reversed(lines)))
    assert min(totals.subtotal, totals.fees, totals.absorbed_fees, totals.tax) >= 0


@given(PRICES, QUANTITIES, QUANTITIES, TERMS)
def test_a_larger_line_never_costs_less(price: int, quantity: int, more: int, terms: Terms) -> None:
    small, large = (add_up([price_line(price, count, terms)]) for count in (quantity, quantity + more))
    assert small.total <= large.total
    assert small.application_fee <= large.application_fee


@given(PRICES, QUANTITIES, TERMS)
def test_a_price_that_covers_its_fees_covers_those_of_every_line(price: int, quantity: int, terms: Terms) -> None:
    line = price_line(price, quantity, terms)
    if covers_fees(price, terms):
        assert line.absorbed_fees <= line.subtotal


@given(st.sampled_from(sorted(CHARGE_STEPS)), st.integers(0, 99_999), QUANTITIES, TERMS)
def test_each_part_is_a_multiple_of_what_the_provider_can_charge(
    currency: str, steps: int, quantity: int, terms: Terms
) -> None:
    step = charge_step(currency)
    exact, line = (price_line(steps * step, quantity, replace(terms, step=size)) for size in (1, step))
    totals = add_up([line])
    parts = (totals.subtotal, totals.fees, totals.absorbed_fees, totals.tax, totals.total)
    assert [part % step for part in parts] == [0] * 5
    assert abs(line.fees + line.absorbed_fees - exact.fees - exact.absorbed_fees) <= step / 2 + 1
    if covers_fees(steps * step, terms):
        assert line.absorbed_fees <= line.subtotal


def test_a_dinar_is_rounded_to_ten_fils() -> None:
    terms = Terms(fee_rate_bps=250, fee_fixed=0, absorbs_fees=False, tax_rate_bps=500, step=charge_step("KWD"))
    # 2.5 % of 5.000 KWD is 0.125, rounded half up to 0.130; 5 % of 5.130 is 0.2565, rounded to 0.260.
    assert price_line(5000, 1, terms) == Line(5000, 1, subtotal=5000, fees=130, absorbed_fees=0, tax=260)


def test_a_price_that_only_rounding_saves_does_not_cover_its_fees() -> None:
    terms = Terms(fee_rate_bps=5_040, fee_fixed=5, absorbs_fees=True, tax_rate_bps=0)
    # One ticket: 50.4 % of 10 is 5.04, rounded to 5, and 5 fixed: just the price. A hundred: 504 and 500 of 1000.
    assert price_line(10, 1, terms).absorbed_fees == 10
    assert price_line(10, 100, terms).absorbed_fees == 1004
    assert not covers_fees(10, terms)
    assert covers_fees(11, terms)
    assert covers_fees(10, replace(terms, absorbs_fees=False))


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [(1250, "EUR", "12.50 EUR"), (5, "EUR", "0.05 EUR"), (500, "JPY", "500 JPY"), (-1001, "KWD", "-1.001 KWD")],
)
def test_amounts_are_written_with_the_decimals_of_their_currency(amount: int, currency: str, words: str) -> None:
    assert written(amount, currency) == words


def test_the_smallest_charge_is_the_providers() -> None:
    assert [minimum_charge(currency) for currency in ("EUR", "USD", "GBP", "DKK", "JPY")] == [50, 50, 30, 250, 50]
    assert minimum_charge("XTS") == 1
    assert [exponent(currency) for currency in ("EUR", "JPY", "KWD")] == [2, 0, 3]


def test_what_can_be_charged_at_all_is_the_providers() -> None:
    assert [charge_step(currency) for currency in ("EUR", "JPY", "KWD", "ISK", "UGX")] == [1, 1, 10, 100, 100]
    assert [currency for currency, least in MINIMUM_CHARGES.items() if least % charge_step(currency)] == []


DISCOUNTS = st.builds(Discount, bps=st.integers(1, 10_000)) | st.builds(Discount, amount=st.integers(1, 99_999_999))


def test_a_share_is_rounded_once_for_the_line_and_fees_and_tax_follow_what_is_left() -> None:
    terms = Terms(fee_rate_bps=250, fee_fixed=50, absorbs_fees=False, tax_rate_bps=2500, minimum=50)
    line = price_line(1999, 3, terms, Discount(bps=1500))
    # 15 % of 59.97 is 8.9955, so 9.00; fee 2.5 % of 50.97 is 1.27425, and 3 x 0.50; tax 25 % of 53.74 is 13.435.
    assert line == Line(1999, 3, subtotal=5097, fees=277, absorbed_fees=0, tax=1344)
    assert line.discount == 900


@pytest.mark.parametrize(
    ("discount", "left"),
    [
        (Discount(amount=300), 1400),
        (Discount(amount=999), 50),
        (Discount(amount=1000), 0),
        (Discount(amount=1001), 0),
        (Discount(bps=10_000), 0),
        (Discount(bps=9_990), 50),
        (Discount(bps=9_700), 60),
    ],
)
def test_a_line_costs_nothing_or_what_can_be_charged(discount: Discount, left: int) -> None:
    terms = Terms(fee_rate_bps=1000, fee_fixed=0, absorbs_fees=False, tax_rate_bps=0, minimum=50)
    assert price_line(1000, 2, terms, discount).subtotal == left


def test_absorbed_fees_are_never_more_than_what_is_left() -> None:
    terms = Terms(fee_rate_bps=500, fee_fixed=60, absorbs_fees=True, tax_rate_bps=0, minimum=50)
    # Two tickets' fixed fees are 1.20, of which five percent go again: 1.2632 is the least that pays them.
    assert price_line(1000, 2, terms, Discount(bps=9_900)) == Line(1000, 2, 127, fees=0, absorbed_fees=126, tax=0)


@given(st.sampled_from(sorted({*MINIMUM_CHARGES, *CHARGE_STEPS})), PRICES, QUANTITIES, TERMS, DISCOUNTS)
def test_a_discount_keeps_every_line_chargeable(
    currency: str, price: int, quantity: int, terms: Terms, discount: Discount
) -> None:
    step, minimum = charge_step(currency), minimum_charge(currency)
    terms = replace(terms, step=step, minimum=minimum)
    price = price // step * step
    if discount.amount is not None:
        discount = Discount(amount=-(-discount.amount // step) * step)
    full, line = price_line(price, quantity, terms), price_line(price, quantity, terms, discount)
    assert line.discount >= 0
    assert line.subtotal + line.discount == full.subtotal
    assert {part % step for part in (line.subtotal, line.fees, line.absorbed_fees, line.tax)} == {0}
    assert add_up([line]).total <= add_up([full]).total
    if line.subtotal == 0:
        assert (line.fees, line.absorbed_fees, line.tax) == (0, 0, 0)
    elif price >= minimum and covers_fees(price, terms):
        assert line.subtotal >= minimum
        assert line.absorbed_fees <= line.subtotal


@given(PRICES, QUANTITIES, st.integers(1, 10_000))
def test_a_share_is_the_decimal_one_rounded_half_up(price: int, quantity: int, bps: int) -> None:
    line = price_line(price, quantity, Terms(0, 0, absorbs_fees=False, tax_rate_bps=0, minimum=0), Discount(bps=bps))
    assert line.discount == rounded(price * quantity, bps)
