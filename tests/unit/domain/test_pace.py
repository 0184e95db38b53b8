import pytest

from domain import pace


@pytest.fixture
def clock(monkeypatch):
    """A clock that work moves, and rests too; returns how to work, and the rests."""
    now, rests = [0.0], []

    def sleep(seconds):
        rests.append(round(seconds, 6))
        now[0] += seconds

    def work(seconds):
        now[0] += seconds

    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace.time, "sleep", sleep)
    return work, rests


def test_each_step_is_followed_by_twice_its_time_until_all_rests_are_used_up(clock):
    work, rests = clock
    steps = pace.Pace(rests_seconds=5)
    for seconds in (1, 0.5, 3, 1):
        with steps.step():
            work(seconds)
    assert rests == [2, 1, 2, 0]


def test_nobody_rests_after_a_step_that_failed(clock):
    work, rests = clock

    @pace.Pace(rests_seconds=5).step()
    def fail():
        work(1)
        raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        fail()
    assert rests == []
