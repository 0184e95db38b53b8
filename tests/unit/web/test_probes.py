import threading
import time
from concurrent.futures import TimeoutError as LateError

import pytest

from web.probes import Probe


def test_gives_the_answer():
    assert Probe(lambda: 42, keep=0).ask().result(5) == 42


def test_gives_the_error_to_whoever_asks():
    def fail():
        raise ConnectionError("gone")

    probe = Probe(fail, keep=60)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="gone"):
            probe.ask().result(5)


def test_keeps_an_answer_for_a_while_and_then_asks_again(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    answers = iter([1, 2])
    probe = Probe(lambda: next(answers), keep=10)
    first = probe.ask()
    first.exception()
    now[0] = 109.9
    assert probe.ask() is first
    now[0] = 110.0
    assert probe.ask().result() == 2


def test_asks_one_at_a_time_however_long_it_hangs():
    may_answer, threads = threading.Event(), []

    def hang():
        threads.append(threading.current_thread())
        may_answer.wait(10)
        return "at last"

    probe = Probe(hang, keep=0)
    for _ in range(5):
        with pytest.raises(LateError):
            probe.ask().result(0.01)
    waiting = probe.ask()
    may_answer.set()
    assert waiting.result(5) == "at last"
    assert len(threads) == 1
