import logging
import threading

import pytest
import stripe

from adapters.stripe_circuit import FAILURES, LONGEST_HOLD_SECONDS, OPEN_SECONDS, CircuitClient
from domain.errors import RetryableVendorError, UnknownOutcomeError

WELL = (b"{}", 200, {})
BROKEN = (b"{}", 500, {})
NO_ANSWER = stripe.APIConnectionError("timed out")


class Clock:
    def __init__(self):
        self.time = 1000.0

    def monotonic(self):
        return self.time


class World:
    """A client whose requests are answered from here; `sent` counts those that left."""

    def __init__(self, monkeypatch):
        self.clock = Clock()
        self.client = CircuitClient(timeout=1, clock=self.clock)
        self.answers = []
        self.sent = 0
        monkeypatch.setattr(stripe.RequestsClient, "request", self._answer)

    def _answer(self, *_):
        self.sent += 1
        answer = self.answers.pop(0) if self.answers else WELL
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self):
        return self.client.request("post", "http://127.0.0.1/v1/refunds", {}, "amount=1")

    def suffer(self, answer, times=1):
        for _ in range(times):
            self.answers.append(answer)
            try:
                self.send()
            except stripe.APIConnectionError:
                assert isinstance(answer, Exception)

    def refusal(self):
        before = self.sent
        with pytest.raises(RetryableVendorError) as refusal:
            self.send()
        assert self.sent == before
        return refusal.value


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


class TestOpening:
    @pytest.mark.parametrize("trouble", [NO_ANSWER, BROKEN, (b"", 503, {})])
    def test_repeated_failures_open_it(self, world, trouble):
        world.suffer(trouble, FAILURES)
        refusal = world.refusal()
        assert refusal.code == "circuit_open"
        assert refusal.retry_after == OPEN_SECONDS

    def test_what_was_not_sent_is_never_an_unknown_outcome(self, world):
        world.suffer(NO_ANSWER, FAILURES)
        assert not isinstance(world.refusal(), UnknownOutcomeError)

    def test_the_call_that_opens_it_still_tells_its_own_trouble(self, world):
        world.suffer(BROKEN, FAILURES - 1)
        world.answers.append(NO_ANSWER)
        with pytest.raises(stripe.APIConnectionError):
            world.send()

    @pytest.mark.parametrize("answer", [(b"", 400, {}), (b"", 402, {}), (b"", 404, {}), (b"", 409, {}), (b"", 429, {})])
    def test_a_stripe_that_says_no_is_well(self, world, answer):
        world.suffer(answer, 3 * FAILURES)
        assert world.send() == WELL

    def test_an_error_that_was_stored_for_its_key_is_an_old_one(self, world):
        world.suffer((b"", 500, {"Idempotent-Replayed": "true"}), 3 * FAILURES)
        assert world.send() == WELL

    def test_a_success_in_between_begins_the_count_anew(self, world):
        world.suffer(BROKEN, FAILURES - 1)
        world.send()
        world.suffer(BROKEN, FAILURES - 1)
        assert world.send() == WELL


class TestTrial:
    @pytest.fixture(autouse=True)
    def _open(self, world):
        world.suffer(NO_ANSWER, FAILURES)

    def test_nobody_calls_before_its_time(self, world):
        world.clock.time += OPEN_SECONDS - 0.1
        assert 0 < world.refusal().retry_after < 0.2

    def test_a_success_closes_it(self, world):
        world.clock.time += OPEN_SECONDS
        assert world.send() == WELL
        assert world.send() == WELL

    def test_a_failure_opens_it_for_as_long_again(self, world):
        world.clock.time += OPEN_SECONDS
        world.suffer(BROKEN)
        assert world.refusal().retry_after == OPEN_SECONDS

    def test_only_one_of_many_threads_makes_the_trial(self, world, monkeypatch):
        world.clock.time += OPEN_SECONDS
        may_end, refusals = threading.Event(), []

        def hang(*_):
            world.sent += 1
            may_end.wait(5)
            return WELL

        monkeypatch.setattr(stripe.RequestsClient, "request", hang)
        world.sent = 0

        def call():
            try:
                world.send()
            except RetryableVendorError as refusal:
                refusals.append(refusal)
                if len(refusals) == 7:
                    may_end.set()

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert world.sent == 1
        assert [refusal.retry_after for refusal in refusals] == [OPEN_SECONDS] * 7


class TestTogether:
    def test_calls_do_not_wait_for_each_other(self, world, monkeypatch):
        together = threading.Barrier(4, timeout=5)
        monkeypatch.setattr(stripe.RequestsClient, "request", lambda *_: (together.wait(), WELL)[1])
        threads = [threading.Thread(target=world.send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not together.broken


class TestHold:
    def test_a_busy_stripe_is_left_alone_for_as_long_as_it_asks(self, world):
        world.suffer((b"", 429, {"Retry-After": "20"}))
        refusal = world.refusal()
        assert (refusal.code, refusal.retry_after) == ("circuit_open", 20)
        world.clock.time += 20
        assert world.send() == WELL

    def test_not_longer_than_is_sensible(self, world):
        world.suffer((b"", 503, {"Retry-After": "86400"}))
        assert world.refusal().retry_after == LONGEST_HOLD_SECONDS

    @pytest.mark.parametrize("given", ["soon", "", "Wed, 21 Oct 2026 07:28:00 GMT"])
    def test_an_answer_without_seconds_holds_nobody(self, world, given):
        world.suffer((b"", 429, {"Retry-After": given}))
        assert world.send() == WELL


def test_operators_are_told(world, caplog):
    caplog.set_level(logging.INFO, logger="adapters.stripe_circuit")
    world.suffer(NO_ANSWER, FAILURES)
    world.clock.time += OPEN_SECONDS
    world.send()
    assert [record.getMessage() for record in caplog.records] == [
        "stripe.circuit_open was=closed",
        "stripe.circuit_half_open was=open",
        "stripe.circuit_closed was=half_open",
    ]
