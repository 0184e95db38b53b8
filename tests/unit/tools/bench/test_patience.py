import itertools

import pytest

from tools.bench import patience
from tools.bench.patience import ImpatienceError, wait_until, wait_until_still


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Let time pass only by waiting."""
    now = itertools.accumulate(itertools.repeat(0.01))
    monkeypatch.setattr(patience.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(patience.time, "sleep", lambda _: None)


def test_it_waits_until_it_is_true():
    answers = iter([False, False, True])
    wait_until(lambda: next(answers), "the third answer came")
    assert list(answers) == []


def test_what_does_not_come_true_is_named():
    with pytest.raises(ImpatienceError, match="after 1 s it is still not true that pigs fly"):
        wait_until(lambda: False, "pigs fly", seconds=1)


def test_a_number_is_still_once_it_has_not_changed_for_a_moment():
    numbers = itertools.chain(range(100), itertools.repeat(100))
    wait_until_still(lambda: next(numbers), "it stopped")
    assert next(numbers) == 100


def test_a_number_that_never_rests_is_named():
    with pytest.raises(ImpatienceError, match="it stopped"):
        wait_until_still(itertools.count().__next__, "it stopped", seconds=2)
