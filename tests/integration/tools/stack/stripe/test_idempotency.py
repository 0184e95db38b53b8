import threading

from tests.fixtures.stripe_standin import ask, paid, wait_until
from tools.stack.stripe.faults import Fault

FORM = {"amount": 2000, "currency": "eur"}


class TestIdempotency:
    def create(self, standin, key, **changes):
        return ask(standin, "POST", "/v1/payment_intents", FORM | changes, {"Idempotency-Key": key})

    def test_a_replay_is_the_stored_answer_and_says_so(self, standin):
        first, made = self.create(standin, "k")
        again, replayed = self.create(standin, "k")
        assert made == replayed
        assert first.headers.get("Idempotent-Replayed") is None
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["Original-Request"] == first.headers["Request-Id"]

    def test_other_parameters_or_another_path_are_refused(self, standin):
        _, made = self.create(standin, "k")
        for answer, body in (
            self.create(standin, "k", amount=2001),
            ask(standin, "POST", f"/v1/payment_intents/{made['id']}/cancel", {}, {"Idempotency-Key": "k"}),
        ):
            assert (answer.status, body["error"]["type"]) == (400, "idempotency_error")

    def test_a_malformed_request_does_not_spend_the_key(self, standin):
        assert self.create(standin, "k", colour="red")[0].status == 400
        assert self.create(standin, "k")[0].status == 200

    def test_a_refusal_by_state_is_stored(self, api, standin):
        made = paid(api)
        path = f"/v1/payment_intents/{made.id}/cancel"
        first, _ = ask(standin, "POST", path, {}, {"Idempotency-Key": "c"})
        again, _ = ask(standin, "POST", path, {}, {"Idempotency-Key": "c"})
        assert (first.status, again.status) == (400, 400)
        assert again.headers["Idempotent-Replayed"] == "true"

    def test_keys_are_scoped_by_account(self, standin):
        _, mine = self.create(standin, "k")
        _, theirs = ask(
            standin, "POST", "/v1/payment_intents", FORM, {"Idempotency-Key": "k", "Stripe-Account": "acct_1"}
        )
        assert mine["id"] != theirs["id"]

    def test_a_key_at_work_is_a_conflict(self, standin):
        standin.simulator.faults.add(Fault(outcome="none", latency_seconds=1))
        first = []
        thread = threading.Thread(target=lambda: first.append(self.create(standin, "k")))
        thread.start()
        wait_until(lambda: not standin.simulator.faults.waiting())
        answer, body = self.create(standin, "k")
        thread.join(10)
        assert (answer.status, body["error"]["code"]) == (409, "idempotency_key_in_use")
        assert first[0][0].status == 200

    def test_a_key_has_at_most_255_characters(self, standin):
        assert self.create(standin, "k" * 255)[0].status == 200
        assert self.create(standin, "k" * 256)[0].status == 400
