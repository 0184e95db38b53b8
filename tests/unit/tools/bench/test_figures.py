import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.figures import Spread, depth_curve, percentile, percentile_curve, rate_curve, spread

VALUES = st.lists(st.floats(0, 1e6), min_size=1)


def test_a_spread_is_the_middle_and_both_ends():
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


@pytest.mark.parametrize("figure", [spread, lambda values: percentile(values, 50)])
def test_nothing_has_no_figure(figure):
    with pytest.raises(ValueError, match="nothing was measured"):
        figure([])


@pytest.mark.parametrize(("share", "value"), [(0, 1), (50, 50), (99, 99), (99.1, 100), (100, 100)])
def test_a_percentile_is_a_value_that_was_measured(share, value):
    assert percentile(list(range(100, 0, -1)), share) == value


@given(VALUES, st.floats(0, 100))
def test_a_percentile_is_not_exceeded_by_its_share(values, share):
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share / 100 * len(values)


@given(VALUES)
def test_the_curve_of_percentiles_never_falls(values):
    heights = [height for _, height in percentile_curve(values)]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (min(values), max(values))


def test_no_value_has_no_curve():
    assert percentile_curve([]) == []


def test_a_rate_counts_each_moment_once():
    assert rate_curve([10.1, 10.4, 10.5, 11.0], begins=10, ends=11, step=0.5) == [(0.5, 6), (1.0, 2)]


def test_a_queue_is_as_deep_as_came_and_have_not_gone():
    arrivals, departures = [0.5, 1.0, 1.5], [2.0, 3.0, 3.5]
    assert depth_curve(arrivals, departures, begins=0, step=1) == [(0, 0), (1, 2), (2, 2), (3, 1), (4, 0)]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1))
def test_a_queue_ends_empty(stays):
    arrivals, departures = [came for came, _ in stays], [came + stayed for came, stayed in stays]
    assert depth_curve(arrivals, departures, begins=0, step=0.7)[-1][1] == 0
