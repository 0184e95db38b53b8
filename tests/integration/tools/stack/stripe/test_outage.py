import threading
import time

import pytest
import stripe

from tests.fixtures.stripe_standin import ask, intent, wait_until


class TestOutage:
    def begin(self, standin, **fields):
        answer, state = ask(standin, "POST", "/_standin/outage", {"seconds": 60} | fields)
        assert answer.status == 200
        return state

    def test_every_call_fails_and_nothing_is_done(self, api, standin):
        assert 0 < self.begin(standin, status=503)["seconds_left"] <= 60
        for call in (lambda: intent(api), api.payment_intents.list, api.balance.retrieve):
            with pytest.raises(stripe.APIError) as refusal:
                call()
            assert refusal.value.http_status == 503
        ask(standin, "DELETE", "/_standin/outage")
        assert api.payment_intents.list().data == []

    def test_it_ends_by_itself(self, api, standin):
        self.begin(standin, seconds="0.2")
        wait_until(lambda: ask(standin, "GET", "/_standin/outage")[1]["seconds_left"] == 0)
        assert intent(api).object == "payment_intent"

    def test_it_can_cut_every_connection(self, api, standin):
        self.begin(standin, outcome="cut")
        with pytest.raises(stripe.APIConnectionError):
            intent(api)

    def test_what_hangs_is_cut_when_it_ends(self, api, standin):
        self.begin(standin, outcome="hang")
        ends = []

        def call():
            with pytest.raises(stripe.APIConnectionError):
                intent(api)
            ends.append(time.monotonic())

        thread = threading.Thread(target=call)
        thread.start()
        thread.join(0.3)
        assert ends == []
        ask(standin, "DELETE", "/_standin/outage")
        thread.join(5)
        assert len(ends) == 1

    def test_a_refusal_for_too_many_calls_says_how_long_it_lasts(self, standin):
        self.begin(standin, seconds=30, status=429)
        answer, body = ask(standin, "GET", "/v1/balance")
        assert (answer.status, body["error"]["code"]) == (429, "rate_limit")
        assert 0 < int(answer.headers["Retry-After"]) <= 30

    def test_the_page_shows_it(self, standin):
        self.begin(standin)
        assert "An outage goes on for" in ask(standin, "GET", "/")[1]

    @pytest.mark.parametrize("fields", [{"outcome": "shrug"}, {"status": 200}, {"status": 600}, {"seconds": "long"}])
    def test_impossible_ones_are_refused(self, standin, fields):
        assert ask(standin, "POST", "/_standin/outage", {"seconds": 1} | fields)[0].status == 400
