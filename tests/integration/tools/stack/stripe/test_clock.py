import time

import pytest
import stripe

from tests.fixtures.stripe_standin import SECRET, ask, intent, sdk
from tools.stack.stripe.server import running

DAY = 24 * 3600
FORM = {"amount": 2000, "currency": "eur"}


class TestClock:
    def advance(self, standin, seconds):
        answer, state = ask(standin, "POST", "/_standin/clock", {"advance_seconds": seconds})
        assert answer.status == 200
        return state

    def test_new_objects_carry_the_new_time(self, api, standin):
        before = intent(api).created
        assert self.advance(standin, DAY)["ahead_seconds"] == DAY
        assert DAY <= intent(api).created - before < DAY + 60
        assert "s ahead" in ask(standin, "GET", "/")[1]

    def test_keys_are_forgotten_after_a_day(self, standin):
        key = {"Idempotency-Key": "k"}
        first = ask(standin, "POST", "/v1/payment_intents", FORM, key)[1]["id"]
        self.advance(standin, DAY - 60)
        assert ask(standin, "POST", "/v1/payment_intents", FORM, key)[1]["id"] == first
        self.advance(standin, 61)
        assert ask(standin, "POST", "/v1/payment_intents", FORM, key)[1]["id"] != first

    def test_late_webhooks_become_due_and_their_signature_is_of_now(self, api, standin, receiver):
        standin.simulator.webhooks.behave(delay_seconds=900)
        made = intent(api)
        self.advance(standin, 901)
        assert receiver.wait_for(1)[0]["data"]["object"]["id"] == made.id
        payload, header = receiver.received[0][1]
        assert stripe.Webhook.construct_event(payload, header, SECRET, tolerance=60).type == "payment_intent.created"

    def test_a_restart_does_not_turn_it_back(self, tmp_path):
        with running(data=tmp_path) as server:
            self.advance(server, DAY)
        with running(data=tmp_path) as server:
            assert intent(sdk(server)).created > time.time() + DAY - 60

    @pytest.mark.parametrize("seconds", [0, -5, "soon", 10**9])
    def test_it_goes_forward_and_not_too_far(self, standin, seconds):
        assert ask(standin, "POST", "/_standin/clock", {"advance_seconds": seconds})[0].status == 400
