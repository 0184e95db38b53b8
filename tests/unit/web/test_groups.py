import threading
import time

import pytest

from web.groups import Groups


class Counter:
    """Serves numbers by doubling them, and can be held up while others come."""

    def __init__(self):
        self.groups = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def serve(self, numbers):
        self.groups.append(list(numbers))
        self.entered.set()
        assert self.gate.wait(10)
        if 13 in numbers:
            raise ConnectionError("lost")
        return [ValueError(number) if number < 0 else number * 2 for number in numbers]


@pytest.fixture
def counter():
    return Counter()


@pytest.fixture
def groups(counter):
    return Groups(counter.serve)


@pytest.fixture
def crowd(groups, counter):
    """Return a way to ask for one number, and for others while the first is under way; outcomes come by number."""

    def crowd(first, *others):
        outcomes = {}

        def ask(number):
            try:
                outcomes[number] = groups.ask(number)
            except (ValueError, ConnectionError) as error:
                outcomes[number] = error

        counter.gate.clear()
        threads = [threading.Thread(target=ask, args=[number]) for number in (first, *others)]
        threads[0].start()
        assert counter.entered.wait(10)
        for place, thread in enumerate(threads[1:], start=1):
            thread.start()
            deadline = time.monotonic() + 10
            while len(groups._waiting) < place:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        counter.gate.set()
        for thread in threads:
            thread.join(10)
        return outcomes

    return crowd


def test_whoever_comes_alone_is_served_at_once_and_alone(groups, counter):
    assert [groups.ask(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert counter.groups == [[1], [2], [3]]


def test_those_who_come_meanwhile_are_served_together_in_their_order(crowd, counter):
    assert crowd(1, 2, 3, 4) == {1: 2, 2: 4, 3: 6, 4: 8}
    assert counter.groups == [[1], [2, 3, 4]]


def test_what_is_wrong_with_one_is_told_to_that_one(crowd):
    outcomes = crowd(1, -2, 3)
    assert isinstance(outcomes.pop(-2), ValueError)
    assert outcomes == {1: 2, 3: 6}


def test_what_fails_for_all_is_told_to_all_and_the_next_group_goes_on(crowd, groups):
    outcomes = crowd(1, 13, 3)
    assert outcomes[1] == 2
    assert [type(outcomes[number]) for number in (13, 3)] == [ConnectionError, ConnectionError]
    assert groups.ask(4) == 8


def test_a_leader_that_fails_leaves_nobody_waiting(crowd, counter):
    outcomes = crowd(13, 1, 2)
    assert isinstance(outcomes[13], ConnectionError)
    assert (outcomes[1], outcomes[2]) == (2, 4)
    assert counter.groups == [[13], [1, 2]]


def test_a_storm_loses_and_mixes_up_nothing(groups):
    outcomes = {}

    def ask(thread):
        for number in range(thread * 1000 + 20, thread * 1000 + 220):
            outcomes[number] = groups.ask(number)

    threads = [threading.Thread(target=ask, args=[thread]) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 8 * 200
    assert all(outcome == number * 2 for number, outcome in outcomes.items())
