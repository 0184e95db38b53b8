import threading

from tests.fixtures.stripe_standin import ask, paid


class TestRefunds:
    def settle(self, standin, refund, **outcome):
        return ask(standin, "POST", f"/_standin/refunds/{refund.id}/settle", outcome)

    def test_a_pending_refund_succeeds_later(self, api, standin):
        refund = api.refunds.create({"payment_intent": paid(api, "pm_card_pendingRefund").id})
        assert refund.status == "pending"
        self.settle(standin, refund)
        assert api.refunds.retrieve(refund.id).status == "succeeded"

    def test_or_fails_if_told_so(self, api, standin):
        made = paid(api, "pm_card_pendingRefund")
        refund = api.refunds.create({"payment_intent": made.id})
        self.settle(standin, refund, outcome="fail")
        after = api.refunds.retrieve(refund.id)
        assert (after.status, after.failure_reason) == ("failed", "expired_or_canceled_card")
        assert api.charges.retrieve(made.latest_charge).amount_refunded == 0
        assert self.settle(standin, refund, outcome="succeed")[0].status == 400

    def test_a_doomed_refund_fails_later_and_can_be_tried_again(self, api, standin):
        made = paid(api, "pm_card_refundFail")
        refund = api.refunds.create({"payment_intent": made.id})
        assert refund.status == "succeeded"
        self.settle(standin, refund)
        after = api.refunds.retrieve(refund.id)
        assert (after.status, after.failure_reason) == ("failed", "expired_or_canceled_card")
        assert api.events.list({"type": "refund.failed"}).data[0].data.object["id"] == refund.id
        assert api.refunds.create({"payment_intent": made.id}).amount == 2000

    def test_what_has_settled_does_not_settle_again(self, api, standin):
        refund = api.refunds.create({"payment_intent": paid(api).id})
        assert self.settle(standin, refund)[0].status == 400

    def test_many_at_once_never_give_back_more_than_was_charged(self, api, standin):
        made, statuses = paid(api), []

        def give_back():
            statuses.append(ask(standin, "POST", "/v1/refunds", {"payment_intent": made.id, "amount": 700})[0].status)

        threads = [threading.Thread(target=give_back) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(statuses) == [200] * 2 + [400] * 6
        assert api.charges.retrieve(made.latest_charge).amount_refunded == 1400
