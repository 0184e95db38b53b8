import urllib.parse

import pytest

from tests.fixtures.stripe_standin import account, ask, control, paid


class TestPages:
    def waiting(self, api, **more):
        made = api.payment_intents.create({"amount": 2000, "currency": "eur", "description": "<Gig> & co"})
        back = {"return_url": "https://shop.example/back?order=1"} | more
        return api.payment_intents.confirm(made.id, {"payment_method": "pm_card_authenticationRequired"} | back)

    def test_the_overview_shows_everything_and_says_what_it_is(self, api, standin, receiver):
        made = self.waiting(api)
        refund = api.refunds.create({"payment_intent": paid(api).id})
        receiver.wait_for(6)
        _, page = ask(standin, "GET", "/")
        assert "Stripe stand-in: no real money moves here" in page
        for text in (made.id, refund.id, "payment_intent.requires_action", "&lt;Gig&gt; &amp; co", "delivered"):
            assert text in page
        assert made.client_secret not in page
        assert "http" not in page.replace(receiver.url, "")

    def test_the_overview_shows_disputes_accounts_and_the_balance(self, api, standin):
        made = paid(api, "pm_card_createDispute", amount=10_000)
        opened = account(api, business_profile={"name": "<Gigs>"})
        (dispute,) = api.disputes.list({"payment_intent": made.id}).data
        _, page = ask(standin, "GET", "/")
        for text in (dispute.id, "needs_response", "We win", opened.id, "&lt;Gigs&gt;", "external_account"):
            assert text in page
        assert "€-18.20 available, €0.00 pending." in page
        control(standin, "balance", sufficient="false")
        _, page = ask(standin, "GET", "/")
        assert "€0.00 available, €-18.20 pending." in page

    @pytest.mark.parametrize(("outcome", "status"), [("succeed", "succeeded"), ("fail", "requires_payment_method")])
    def test_a_person_completes_or_fails_the_authentication(self, api, standin, outcome, status):
        made = self.waiting(api)
        path = urllib.parse.urlsplit(made.next_action.redirect_to_url.url)
        target = f"{path.path}?{path.query}"
        _, page = ask(standin, "GET", target)
        assert "Stripe stand-in" in page
        assert "€20.00" in page
        answer, _ = ask(standin, "POST", target, {"outcome": outcome})
        assert answer.status == 303
        assert answer.headers["Location"].startswith(f"https://shop.example/back?order=1&payment_intent={made.id}&")
        assert api.payment_intents.retrieve(made.id).status == status

    def test_the_page_needs_the_client_secret(self, api, standin):
        made = self.waiting(api)
        assert ask(standin, "GET", f"/authenticate/{made.id}?client_secret=x")[0].status == 403

    def test_a_name_that_points_here_controls_nothing(self, standin):
        for method, path in (("GET", "/"), ("POST", "/_standin/faults")):
            assert ask(standin, method, path, {}, {"Host": "evil.example:80"})[0].status == 403

    def test_other_sites_control_nothing(self, api, standin):
        made = self.waiting(api)
        path = f"/_standin/payment_intents/{made.id}/authenticate"
        answer, _ = ask(standin, "POST", path, {"outcome": "succeed"}, {"Sec-Fetch-Site": "cross-site"})
        assert answer.status == 403
        assert api.payment_intents.retrieve(made.id).status == "requires_action"
