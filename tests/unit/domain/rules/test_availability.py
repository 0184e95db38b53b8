from hypothesis import given
from hypothesis import strategies as st

from domain.rules.availability import sellable

GROUPS = st.lists(st.integers(1, 20), max_size=20)


def test_waiting_groups_that_fit_come_first() -> None:
    assert sellable(10, [4, 3], skips_large_groups=True) == 3


def test_seats_that_no_waiting_group_can_use_are_for_sale() -> None:
    assert sellable(3, [4, 2, 5], skips_large_groups=True) == 1


def test_a_group_that_does_not_fit_holds_the_line_where_it_may_not_be_passed() -> None:
    assert sellable(3, [4, 2], skips_large_groups=False) == 0
    assert sellable(3, [2], skips_large_groups=False) == 1


def test_an_overdrawn_tier_has_nothing_to_sell() -> None:
    assert sellable(-2, [], skips_large_groups=True) == 0


@given(st.integers(0, 100), GROUPS)
def test_holding_the_line_never_sells_more_than_passing_large_groups(free: int, waiting: list[int]) -> None:
    strict = sellable(free, waiting, skips_large_groups=False)
    assert 0 <= strict <= sellable(free, waiting, skips_large_groups=True) <= free
