import time

import pytest
import stripe

from tests.fixtures.stripe_standin import ask, intent, paid


class TestListsAndEvents:
    def test_pages_walk_through_everything_both_ways(self, api):
        made = [intent(api).id for _ in range(5)][::-1]
        assert [found.id for found in api.payment_intents.list({"limit": 2}).auto_paging_iter()] == made
        page = api.payment_intents.list({"limit": 2, "ending_before": made[3]})
        assert ([found.id for found in page.data], page.has_more) == (made[1:3], True)

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=101", "starting_after=pi_1", "starting_after=a&ending_before=b"]
    )
    def test_impossible_pages_are_refused(self, standin, query):
        assert ask(standin, "GET", f"/v1/payment_intents?{query}")[0].status == 400

    def test_events_are_found_by_type_and_time(self, api):
        paid(api)
        api.refunds.create({"payment_intent": paid(api).id})
        types = {event.type for event in api.events.list({"type": "payment_intent.*"}).data}
        assert types == {"payment_intent.created", "payment_intent.succeeded"}
        several = api.events.list({"types": ["refund.created", "charge.refunded"]}).data
        assert [event.type for event in several] == ["charge.refunded", "refund.created"]
        now = int(time.time())
        assert api.events.list({"created": {"gt": now + 5}}).data == []
        assert len(api.events.list({"created": {"gte": now - 60}}).data) == 8

    def test_charges_and_refunds_are_found_by_intent(self, api):
        made, other = paid(api), paid(api)
        api.refunds.create({"payment_intent": made.id, "amount": 1})
        assert [charge.id for charge in api.charges.list({"payment_intent": made.id}).data] == [made.latest_charge]
        assert len(api.refunds.list({"charge": made.latest_charge}).data) == 1
        assert api.refunds.list({"payment_intent": other.id}).data == []

    @pytest.mark.parametrize("path", ["amount", "latest_charge.colour", "latest_charge.payment_intent.a.b.c"])
    def test_what_does_not_expand_is_refused(self, api, path):
        with pytest.raises(stripe.InvalidRequestError):
            paid(api, expand=[path])
