from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from domain.rules.money import MAXIMUM_CHARGE
from domain.rules.pricing import Terms, add_up, price_line
from domain.rules.refunds import buyers_deadline, returned_fee, ticket_share

PRICES = st.one_of(st.integers(0, 9), st.integers(50, 30_000), st.integers(10, 500_000).map(lambda fils: fils * 10))
"""From single minor units over whole yen to thousandths of a dinar."""
TERMS = st.builds(Terms, st.integers(0, 10_000), st.integers(0, 500), st.booleans(), st.integers(0, 10_000))


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=12),
    st.integers(0, 10_000),
)
def test_the_parts_of_a_whole_refund_give_back_exactly_the_fee(parts, fee):
    total = sum(parts)
    returned, shares = 0, []
    for part in parts:
        shares.append(returned_fee(fee, total, before=returned, after=returned + part))
        returned += part
    assert sum(shares) == fee
    assert all(share >= 0 for share in shares)


def test_half_a_minor_unit_is_rounded_up():
    assert returned_fee(1, 2, before=0, after=1) == 1
    assert returned_fee(1, 2, before=1, after=2) == 0


@given(st.lists(st.tuples(PRICES, st.integers(1, 40)), min_size=1, max_size=4), TERMS)
def test_the_shares_of_all_tickets_are_exactly_what_the_order_cost(contents, terms):
    lines = [price_line(price, quantity, terms) for price, quantity in contents]
    shares = [
        ticket_share(line.subtotal + line.fees + line.tax, line.quantity, position)
        for line in lines
        for position in range(1, line.quantity + 1)
    ]
    assert sum(shares) == add_up(lines).total
    assert all(share >= 0 for share in shares)


@given(st.integers(0, MAXIMUM_CHARGE), st.integers(1, 100))
def test_no_ticket_is_worth_more_than_one_minor_unit_more_than_another(total, quantity):
    shares = [ticket_share(total, quantity, position) for position in range(1, quantity + 1)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_a_total_that_does_not_divide_is_shared_by_position():
    assert [ticket_share(100, 3, position) for position in (1, 2, 3)] == [33, 34, 33]


def test_buyers_may_ask_until_so_many_hours_before_the_start():
    start, usual = datetime(2027, 6, 12, 17, tzinfo=UTC), datetime(2027, 6, 10, 17, tzinfo=UTC)
    assert buyers_deadline(start, 48) == usual
    assert buyers_deadline(start, None) is None
    # What the promoter grants beside it only adds.
    assert buyers_deadline(start, 48, start) == buyers_deadline(start, None, start) == start
    assert buyers_deadline(start, 48, datetime(2027, 6, 1, tzinfo=UTC)) == usual
