import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.service_rate import ServiceRate


def test_is_not_known_before_the_first_decision():
    rate = ServiceRate()
    rate.note(0, began=0, ended=1, has_more=False)
    assert rate.per_second is None


@given(st.floats(0.001, 10), st.integers(1, 500), st.integers(1, 50))
def test_a_steady_pace_is_measured_as_it_is(seconds, batch, rounds):
    rate, now = ServiceRate(), 100.0
    for _ in range(rounds):
        rate.note(batch, began=now, ended=now + seconds, has_more=True)
        now += seconds
    assert rate.per_second == pytest.approx(batch / seconds, rel=1e-3)


def test_the_turns_of_other_tiers_count_for_those_who_wait_meanwhile():
    rate = ServiceRate()
    for turn in range(0, 50, 5):
        # Half a second of service, and four and a half for others.
        rate.note(500, began=turn, ended=turn + 0.5, has_more=True)
    assert rate.per_second == pytest.approx(100, rel=0.1)


def test_time_in_which_nobody_waited_does_not_count():
    rate = ServiceRate()
    for turn in range(0, 5000, 500):
        rate.note(500, began=turn, ended=turn + 0.5, has_more=False)
    assert rate.per_second == pytest.approx(1000)


def test_a_pause_does_not_count():
    rate = ServiceRate()
    rate.note(500, began=0, ended=0.5, has_more=True)
    # The first look at a paused tier finds nothing to do.
    rate.note(0, began=0.5, ended=0.6, has_more=False)
    rate.note(500, began=3600, ended=3600.5, has_more=True)
    assert rate.per_second == pytest.approx(1000)


def test_a_round_of_wishes_only_is_time_that_others_wait():
    rate = ServiceRate()
    rate.note(0, began=0, ended=1, has_more=True)
    rate.note(500, began=1, ended=1.5, has_more=True)
    rate.note(0, began=1.5, ended=2.5, has_more=True)
    rate.note(500, began=2.5, ended=3, has_more=True)
    assert rate.per_second == pytest.approx(1000 / 3, rel=0.1)


def test_what_happened_just_now_counts_most():
    rate, now = ServiceRate(), 0.0
    for batch in (1000, 100):
        for _ in range(30):
            rate.note(batch, began=now, ended=now + 1, has_more=True)
            now += 1
    assert 100 < rate.per_second < 200
