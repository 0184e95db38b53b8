import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.lifecycle import ENDED
from domain.rules.polling import CROWD, LONGEST, RARELY, retry_after, spread
from domain.rules.states import OrderStage

stages = st.sampled_from(OrderStage)
etas = st.none() | st.floats(0, 1e9)
chances = st.floats(0, 1)


@given(stages, etas, st.booleans(), chances, st.integers(0, 10**6))
def test_ended_orders_are_not_asked_about_and_all_others_are_soon(stage, eta, is_paused, chance, ahead):
    seconds = retry_after(stage, eta, is_paused=is_paused, chance=chance, ahead=ahead)
    if stage in ENDED:
        assert seconds is None
    else:
        assert 1 <= seconds <= LONGEST


@pytest.mark.parametrize(("eta", "seconds"), [(0, 1), (1, 1), (10, 5), (40, 20), (60, 30), (3600, 40)])
def test_in_line_a_client_comes_again_half_way(eta, seconds):
    assert retry_after(OrderStage.QUEUED, eta, is_paused=False, chance=0) == seconds


def test_where_the_time_is_not_known_it_comes_soon():
    assert retry_after(OrderStage.QUEUED, None, is_paused=False, chance=0) == 1


@pytest.mark.parametrize("stage", [OrderStage.QUEUED, OrderStage.PARTLY_HELD])
def test_a_pause_is_a_reason_to_come_late(stage):
    assert retry_after(stage, None, is_paused=True, chance=0) == RARELY


@pytest.mark.parametrize("stage", [OrderStage.AWAITING_APPROVAL, OrderStage.OFFERED, OrderStage.QUARANTINED])
def test_what_waits_for_a_person_is_polled_rarely(stage):
    assert retry_after(stage, None, is_paused=False, chance=0) == RARELY


@pytest.mark.parametrize("stage", [OrderStage.HELD, OrderStage.PROCESSING, OrderStage.ISSUING, OrderStage.EXPIRING])
def test_what_a_worker_does_next_is_polled_at_once(stage):
    assert retry_after(stage, None, is_paused=False, chance=0) == 1


def test_chance_spreads_the_clients_over_half_the_interval():
    told = {retry_after(OrderStage.OFFERED, None, is_paused=False, chance=n / 100) for n in range(101)}
    assert told == set(range(40, 61))


@given(chances)
def test_an_estimate_is_for_the_line_only(chance):
    held = retry_after(OrderStage.AWAITING_PAYMENT, 1000.0, is_paused=False, chance=chance)
    assert held == retry_after(OrderStage.AWAITING_PAYMENT, None, is_paused=False, chance=chance)


def test_a_crowd_that_is_served_soon_does_not_come_back_in_one_second():
    def told(ahead):
        chances = [n / 100 for n in range(101)]
        return {retry_after(OrderStage.QUEUED, 1, is_paused=False, chance=chance, ahead=ahead) for chance in chances}

    assert told(CROWD) == {1, 2}
    assert told(CROWD - 1) <= {1, 2}


@given(st.floats(0, 1e9), chances)
def test_whoever_is_refused_is_told_a_time_between_a_second_and_a_minute(seconds, chance):
    assert 1 <= spread(seconds, chance) <= LONGEST
    assert spread(seconds, chance) >= min(int(seconds), LONGEST)
