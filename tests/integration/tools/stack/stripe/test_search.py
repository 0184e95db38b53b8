import urllib.parse

import pytest
import stripe

from tests.fixtures.stripe_standin import ask, paid


def about(event_id, status="succeeded"):
    return f"metadata['event_id']:'{event_id}' AND status:'{status}'"


def of(event_id):
    return {"metadata": {"event_id": event_id}}


class TestSearch:
    def test_charges_are_found_by_metadata_and_status_with_the_fee_expanded(self, api):
        shares = {"application_fee_amount": 100, "transfer_data": {"destination": "acct_1"}}
        made = paid(api, **of("one"), **shares)
        paid(api, **of("two"))
        paid(api)
        found = api.charges.search({"query": about("one"), "expand": ["data.application_fee"]})
        assert (found.object, found.url, found.has_more) == ("search_result", "/v1/charges/search", False)
        assert found.next_page is None
        (charge,) = found.data
        assert (charge.payment_intent, charge.application_fee.amount) == (made.id, 100)
        assert api.charges.search({"query": about("three")}).data == []

    def test_declined_charges_have_another_status(self, api):
        with pytest.raises(stripe.CardError):
            paid(api, "pm_card_chargeDeclined", **of("one"))
        assert api.charges.search({"query": about("one")}).data == []
        (charge,) = api.charges.search({"query": about("one", "failed")}).data
        assert charge.failure_code == "card_declined"

    def test_a_charge_keeps_the_metadata_that_its_intent_had_when_it_was_made(self, api):
        made = paid(api, **of("one"))
        api.payment_intents.update(made.id, of("two"))
        assert [charge.id for charge in api.charges.search({"query": about("one")}).data] == [made.latest_charge]
        assert api.charges.search({"query": about("two")}).data == []

    def test_pages_walk_through_everything(self, api):
        made = [paid(api, **of("one")).latest_charge for _ in range(5)][::-1]
        first = api.charges.search({"query": about("one"), "limit": 2})
        assert (len(first.data), first.has_more) == (2, True)
        second = api.charges.search({"query": about("one"), "limit": 2, "page": first.next_page})
        assert [charge.id for charge in (*first.data, *second.data)] == made[:4]
        assert [charge.id for charge in first.auto_paging_iter()] == made

    def test_other_accounts_are_not_searched(self, api):
        paid(api, **of("one"))
        assert api.charges.search({"query": about("one")}, {"stripe_account": "acct_1"}).data == []

    @pytest.mark.parametrize(
        "query",
        [
            "one",
            "amount>999",
            "metadata['event_id']:'one'",
            "status:'succeeded' AND metadata['event_id']:'one'",
            "metadata['event_id']:'one' OR status:'succeeded'",
            "metadata['event_id']:'one' AND status:'succeeded' AND currency:'eur'",
            "metadata['a\"b']:'one' AND status:'succeeded'",
            about("it's"),
        ],
    )
    def test_queries_that_it_cannot_read_are_refused(self, api, query):
        with pytest.raises(stripe.InvalidRequestError, match="We were unable to parse your search query") as refusal:
            api.charges.search({"query": query})
        assert (refusal.value.http_status, refusal.value.param) == (400, "query")

    @pytest.mark.parametrize(
        ("changes", "param"),
        [
            ({"query": ""}, "query"),
            ({"limit": "0"}, "limit"),
            ({"limit": "101"}, "limit"),
            ({"page": "ch_nobodys"}, "page"),
            ({"starting_after": "ch_1"}, "starting_after"),
        ],
    )
    def test_impossible_pages_are_refused(self, standin, changes, param):
        asked = urllib.parse.urlencode({"query": about("one")} | changes)
        answer, body = ask(standin, "GET", f"/v1/charges/search?{asked}")
        assert (answer.status, body["error"]["param"]) == (400, param)

    def test_a_search_without_a_query_is_refused(self, standin):
        answer, body = ask(standin, "GET", "/v1/charges/search")
        assert (answer.status, body["error"]["code"]) == (400, "parameter_missing")
