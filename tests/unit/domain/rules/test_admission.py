import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.admission import AdmissionLimits, is_beyond_stock, seconds_until_shorter

LIMITS = AdmissionLimits(line_limit=50_000, line_stock_factor=3, line_spare=1000, waiting_orders_per_person=5)


@pytest.mark.parametrize(
    ("free", "wanted", "expected"),
    [(5000, 15_999, False), (5000, 16_000, True), (0, 999, False), (0, 1000, True), (100, 1299, False)],
)
def test_a_line_is_full_when_it_wants_the_stock_many_times_over(free, wanted, expected):
    assert is_beyond_stock(free, wanted, LIMITS) is expected


@given(st.integers(0, 10**6), st.integers(0, 10**7))
def test_whoever_could_still_be_served_is_let_in(free, wanted):
    if wanted < free:
        assert not is_beyond_stock(free, wanted, LIMITS)


@given(st.integers(0, 10**6), st.none() | st.floats(0, 1e6))
def test_who_finds_a_line_full_is_told_a_time_within_a_minute(orders, rate):
    assert 1 <= seconds_until_shorter(orders, rate) <= 60


def test_that_time_is_from_the_line_and_its_pace():
    assert seconds_until_shorter(50_000, 500) == 10
