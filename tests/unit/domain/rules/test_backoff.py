from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.rules.backoff import backoff

FIRST, LONGEST = timedelta(seconds=5), timedelta(hours=1)


def wait(attempt, jitter=1.0):
    return backoff(attempt, first=FIRST, longest=LONGEST, jitter=jitter)


def test_doubles_from_the_first_wait():
    assert [wait(attempt).total_seconds() for attempt in (1, 2, 3, 4)] == [5, 10, 20, 40]


def test_is_never_longer_than_the_longest():
    assert wait(11) == LONGEST
    assert wait(10_000) == LONGEST


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_jitter_takes_up_to_half_away(attempt, jitter):
    assert wait(attempt) / 2 <= wait(attempt, jitter) <= wait(attempt)


def test_jitter_spreads_what_failed_together():
    assert wait(3, jitter=0) == wait(3) / 2
    assert wait(3, jitter=0.2) < wait(3, jitter=0.8)
