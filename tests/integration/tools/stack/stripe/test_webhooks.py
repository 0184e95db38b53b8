import time

import pytest
import stripe

from tests.fixtures.stripe_standin import SECRET, ask, intent, paid, sdk, wait_until
from tools.stack.stripe import webhooks
from tools.stack.stripe.server import running


class TestWebhooks:
    def test_events_arrive_signed_and_in_order(self, api, receiver):
        made = intent(api)
        with pytest.raises(stripe.CardError):
            api.payment_intents.confirm(made.id, {"payment_method": "pm_card_chargeDeclined"})
        api.payment_intents.confirm(made.id, {"payment_method": "pm_card_authenticationRequired"})
        api.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})
        api.refunds.create({"payment_intent": made.id})
        receiver.wait_for(8)
        assert receiver.types == [
            "payment_intent.created",
            "charge.failed",
            "payment_intent.payment_failed",
            "payment_intent.requires_action",
            "charge.succeeded",
            "payment_intent.succeeded",
            "refund.created",
            "charge.refunded",
        ]
        for event, (payload, header) in receiver.received:
            assert stripe.Webhook.construct_event(payload, header, SECRET).id == event["id"]

    def test_a_bank_payment_tells_its_three_steps(self, api, receiver, standin):
        made = paid(api, "pm_usBankAccount_success", currency="usd")
        ask(standin, "POST", f"/_standin/payment_intents/{made.id}/settle", {"outcome": "succeed"})
        receiver.wait_for(5)
        assert receiver.types == [
            "payment_intent.created",
            "charge.pending",
            "payment_intent.processing",
            "charge.succeeded",
            "payment_intent.succeeded",
        ]
        assert len(api.charges.list({"payment_intent": made.id}).data) == 1

    def test_what_fails_is_repeated_until_it_is_taken(self, api, receiver, standin):
        receiver.statuses = [500, 302, 404]
        made = intent(api)
        assert receiver.wait_for(1)[0]["data"]["object"]["id"] == made.id
        wait_until(lambda: standin.simulator.webhooks.state()["deliveries"] == {"delivered": 1})
        assert api.events.list({"delivery_success": True}).data[0].pending_webhooks == 0

    def test_one_that_fails_does_not_hold_up_the_next(self, api, receiver):
        receiver.statuses = [500]
        first, second = intent(api), intent(api)
        ids = [event["data"]["object"]["id"] for event in receiver.wait_for(2)]
        assert sorted(ids) == sorted([first.id, second.id])

    def test_switched_off_they_are_lost_until_resent(self, api, receiver, standin):
        ask(standin, "POST", "/_standin/webhooks", {"deliver": "false"})
        intent(api)
        lost = api.events.list({"delivery_success": False}).data[0]
        ask(standin, "POST", "/_standin/webhooks", {"deliver": "true"})
        intent(api)
        assert receiver.wait_for(1)[0]["id"] != lost.id
        assert ask(standin, "POST", f"/_standin/webhooks/{lost.id}/resend")[0].status == 200
        assert receiver.wait_for(2)[1]["id"] == lost.id

    def test_they_can_be_doubled_and_dropped(self, api, receiver, standin):
        ask(standin, "POST", "/_standin/webhooks", {"copies": 2, "drop": 1})
        intent(api)
        made = intent(api)
        assert [event["data"]["object"]["id"] for event in receiver.wait_for(2)] == [made.id] * 2

    def test_they_can_come_late_and_newest_first(self, api, receiver, standin):
        ask(standin, "POST", "/_standin/webhooks", {"delay_seconds": "1", "newest_first": "true"})
        # They go out together when a window of the delay's length ends: begin at the start of one.
        wait_until(lambda: time.time() % 1 < 0.3)
        made = [intent(api).id for _ in range(3)]
        assert receiver.received == []
        assert [event["data"]["object"]["id"] for event in receiver.wait_for(3)] == made[::-1]

    def test_what_waits_survives_a_restart(self, tmp_path, receiver):
        options = {"data": tmp_path, "webhook_url": receiver.url, "webhook_secret": SECRET}
        with running(**options) as server:
            server.simulator.webhooks.behave(delay_seconds=1.5)
            made = intent(sdk(server))
            key = ask(server, "POST", "/v1/refunds", {"charge": "ch_1"}, {"Idempotency-Key": "k"})[1]
        assert receiver.received == []
        with running(**options) as server:
            assert sdk(server).payment_intents.retrieve(made.id).id == made.id
            assert ask(server, "POST", "/v1/refunds", {"charge": "ch_1"}, {"Idempotency-Key": "k"})[1] == key
            assert receiver.wait_for(1)[0]["data"]["object"]["id"] == made.id

    @pytest.mark.parametrize(
        "url", ["http://example.com/", "https://127.0.0.1/", "http://10.0.0.1/", "ftp://localhost"]
    )
    def test_they_stay_on_this_machine(self, url):
        with pytest.raises(ValueError, match="this machine only"):
            webhooks.checked_url(url)
