import pytest
import stripe

from tests.fixtures.stripe_standin import ask, intent
from tools.stack.stripe.faults import Fault


class TestFaults:
    def test_they_strike_the_next_calls_of_their_kind(self, api, standin):
        fault = {"call": "payment_intent.create", "times": 2, "status": 503}
        assert ask(standin, "POST", "/_standin/faults", fault)[0].status == 200
        assert len(ask(standin, "GET", "/_standin/faults")[1]["faults"]) == 1
        assert api.payment_intents.list().data == []
        for _ in range(2):
            with pytest.raises(stripe.APIError):
                intent(api)
        assert [made.id for made in api.payment_intents.list().data] == []
        assert intent(api).status == "requires_payment_method"

    def test_after_the_effect_the_work_is_done(self, api, standin):
        standin.simulator.faults.add(Fault(call="payment_intent.create", when="after", outcome="cut"))
        with pytest.raises(stripe.APIConnectionError):
            intent(api)
        assert len(api.payment_intents.list().data) == 1

    def test_they_can_be_taken_back(self, api, standin):
        ask(standin, "POST", "/_standin/faults", {"times": 9})
        ask(standin, "DELETE", "/_standin/faults")
        assert intent(api).object == "payment_intent"

    def test_jitter_adds_up_to_so_much_by_chance(self):
        pauses = [Fault(latency_seconds=1, latency_jitter_seconds=2).pause() for _ in range(50)]
        assert all(1 <= pause <= 3 for pause in pauses)
        assert len(set(pauses)) > 1

    @pytest.mark.parametrize("fault", [{"when": "never"}, {"times": "0"}, {"status": "200"}, {"mood": "bad"}])
    def test_impossible_ones_are_refused(self, standin, fault):
        assert ask(standin, "POST", "/_standin/faults", fault)[0].status == 400
