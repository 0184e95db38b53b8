import time
import urllib.parse

import pytest
import stripe

from tests.fixtures.stripe_standin import NEVER, SECRET, account, ask, control, intent, paid
from tools.stack.stripe import accounts
from tools.stack.stripe.server import running


class TestKeysAndAccounts:
    @pytest.mark.parametrize("key", ["", "pk_test_x", "sk_live_x", "nonsense"])
    def test_only_secret_test_keys_are_taken(self, standin, key):
        answer, body = ask(standin, "GET", "/v1/events", key=key)
        assert (answer.status, body["error"]["type"]) == (401, "invalid_request_error")

    def test_a_live_key_is_refused_even_when_it_was_configured(self):
        with running(secret_key="sk_live_x") as server:
            assert ask(server, "GET", "/v1/events", key="sk_live_x")[0].status == 401

    def test_objects_belong_to_their_account(self, api):
        mine = intent(api)
        theirs = api.payment_intents.create(
            {"amount": 500, "currency": "eur", "application_fee_amount": 50, "automatic_payment_methods": NEVER},
            {"stripe_account": "acct_1"},
        )
        for wanted, options in ((mine, {"stripe_account": "acct_1"}), (theirs, {})):
            with pytest.raises(stripe.InvalidRequestError) as refusal:
                api.payment_intents.retrieve(wanted.id, options=options)
            assert (refusal.value.http_status, refusal.value.code) == (404, "resource_missing")
        assert [found.id for found in api.payment_intents.list().data] == [mine.id]
        event = api.events.list(options={"stripe_account": "acct_1"}).data[0]
        assert (event.account, event.data.object["id"]) == ("acct_1", theirs.id)

    def test_an_impossible_account_is_forbidden(self, api):
        with pytest.raises(stripe.PermissionError):
            api.payment_intents.list(options={"stripe_account": "nobody"})


class TestConnect:
    def test_a_destination_charge_moves_money_and_a_refund_moves_it_back(self, api):
        made = paid(
            api,
            amount=1000,
            application_fee_amount=101,
            transfer_data={"destination": "acct_1"},
            on_behalf_of="acct_1",
            expand=["latest_charge.transfer", "latest_charge.application_fee"],
        )
        charge = made.latest_charge
        assert (charge.transfer.amount, charge.transfer.destination) == (1000, "acct_1")
        assert (charge.application_fee.amount, charge.application_fee.account) == (101, "acct_1")
        for _ in range(3):
            api.refunds.create(
                {
                    "payment_intent": made.id,
                    "amount": 333,
                    "reverse_transfer": True,
                    "refund_application_fee": True,
                }
            )
        last = {"payment_intent": made.id, "reverse_transfer": True, "refund_application_fee": True}
        refund = api.refunds.create(last | {"expand": ["transfer_reversal"]})
        assert (refund.amount, refund.transfer_reversal.amount) == (1, 1)
        after = api.charges.retrieve(charge.id, {"expand": ["transfer", "application_fee"]})
        assert (after.transfer.amount_reversed, after.transfer.reversed) == (1000, True)
        assert (after.application_fee.amount_refunded, after.application_fee.refunded) == (101, True)

    def test_a_refund_that_fails_moves_neither_transfer_nor_fee_back(self, api, standin):
        split = {"application_fee_amount": 101, "transfer_data": {"destination": "acct_1"}, "on_behalf_of": "acct_1"}
        made = paid(api, "pm_card_refundFail", amount=1000, **split)
        half = {"payment_intent": made.id, "amount": 500}
        refund = api.refunds.create({**half, "reverse_transfer": True, "refund_application_fee": True})
        ask(standin, "POST", f"/_standin/refunds/{refund.id}/settle")
        api.refunds.create(half)
        after = api.charges.retrieve(made.latest_charge, {"expand": ["transfer", "application_fee"]})
        assert after.amount_refunded == 500
        assert (after.transfer.amount_reversed, after.application_fee.amount_refunded) == (500, 51)

    def test_nothing_is_left_to_be_taken_twice(self, api, standin):
        made = paid(api, "pm_card_refundFail", amount=1000, transfer_data={"destination": "acct_1"})
        whole = {"payment_intent": made.id, "reverse_transfer": True}
        refund = api.refunds.create(whole)
        ask(standin, "POST", f"/_standin/refunds/{refund.id}/settle")
        with pytest.raises(stripe.InvalidRequestError, match="already fully reversed"):
            api.refunds.create(whole)
        assert api.refunds.create({"payment_intent": made.id}).transfer_reversal is None

    def test_what_makes_a_refund_whole_gives_all_of_the_fee_back(self, api):
        made = paid(api, amount=1000, application_fee_amount=100, transfer_data={"destination": "acct_1"})
        api.refunds.create({"payment_intent": made.id, "amount": 700, "reverse_transfer": True})
        rest = {"payment_intent": made.id, "reverse_transfer": True, "refund_application_fee": True}
        api.refunds.create(rest)
        after = api.charges.retrieve(made.latest_charge, {"expand": ["transfer", "application_fee"]})
        assert (after.transfer.amount_reversed, after.application_fee.amount_refunded) == (1000, 100)

    @pytest.mark.parametrize(
        "changes",
        [
            {"application_fee_amount": 1},
            {"application_fee_amount": 2001, "transfer_data": {"destination": "acct_1"}},
            {"application_fee_amount": 1, "transfer_data": {"destination": "acct_1", "amount": 5}},
        ],
    )
    def test_fees_that_cannot_be_taken_are_refused(self, api, changes):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            intent(api, **changes)
        assert refusal.value.param == "application_fee_amount"

    def test_nothing_to_reverse_undoes_the_refund(self, api):
        made = paid(api)
        with pytest.raises(stripe.InvalidRequestError):
            api.refunds.create({"payment_intent": made.id, "reverse_transfer": True})
        assert api.refunds.list({"payment_intent": made.id}).data == []
        assert api.charges.retrieve(made.latest_charge).amount_refunded == 0


class TestConnectedAccounts:
    def test_an_account_is_opened_with_what_the_platform_knows(self, api):
        made = account(api, country="DE", business_profile={"name": "Gigs"}, metadata={"promoter_id": "1"})
        found = api.accounts.retrieve(made.id)
        assert (found.country, found.email, found.metadata["promoter_id"]) == ("DE", "ada@example.com", "1")
        assert (found.business_profile.name, found.controller.stripe_dashboard.type) == ("Gigs", "express")
        assert (found.capabilities.transfers, found.details_submitted, found.payouts_enabled) == (
            "inactive",
            False,
            False,
        )
        assert "external_account" in found.requirements.currently_due

    @pytest.mark.parametrize(
        ("changes", "param"),
        [
            ({"controller": {"stripe_dashboard": {"type": "express"}}}, "controller[fees]"),
            ({"type": "express"}, "type"),
            ({"country": "Germany"}, "country"),
            ({"email": "nobody"}, "email"),
        ],
    )
    def test_what_the_stand_in_does_not_open_is_refused(self, api, changes, param):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            account(api, **changes)
        assert refusal.value.param == param

    def test_an_account_of_somebody_else_may_not_be_seen(self, api):
        with pytest.raises(stripe.PermissionError) as refusal:
            api.accounts.retrieve("acct_somebodys")
        assert refusal.value.error.code == "account_invalid"

    @pytest.mark.parametrize(
        ("state", "transfers", "submitted", "wants"),
        [
            ("ready", "active", True, False),
            ("restricted", "inactive", True, True),
            ("pending", "inactive", False, True),
        ],
    )
    def test_its_state_is_set_by_hand_and_told_as_an_event_of_its_own(
        self, api, standin, receiver, state, transfers, submitted, wants
    ):
        made = account(api)
        control(standin, f"accounts/{made.id}", state=state)
        found = api.accounts.retrieve(made.id)
        assert (found.capabilities.transfers, found.details_submitted) == (transfers, submitted)
        assert bool(found.requirements.currently_due) is wants
        (event,) = receiver.wait_for(1)
        assert (event["type"], event["account"], event["data"]["object"]["id"]) == (
            "account.updated",
            made.id,
            made.id,
        )
        payload, header = receiver.received[0][1]
        assert stripe.Webhook.construct_event(payload, header, SECRET).account == made.id
        assert api.events.list().data == []
        assert api.events.list(options={"stripe_account": made.id}).data[0].id == event["id"]

    def test_only_an_account_that_was_opened_here_has_a_state(self, standin):
        assert ask(standin, "POST", "/_standin/accounts/acct_1", {"state": "ready"})[0].status == 404

    def test_a_destination_that_was_opened_here_must_be_ready(self, api, standin):
        made = account(api)
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            intent(api, transfer_data={"destination": made.id})
        assert refusal.value.code == "insufficient_capabilities_for_transfer"
        control(standin, f"accounts/{made.id}", state="ready")
        assert intent(api, transfer_data={"destination": made.id}).transfer_data.destination == made.id


class TestOnboarding:
    RETURN, REFRESH = "https://shop.example/back", "https://shop.example/again"

    def link(self, api, made):
        urls = {"return_url": self.RETURN, "refresh_url": self.REFRESH}
        link = api.account_links.create({"account": made.id, "type": "account_onboarding"} | urls)
        return urllib.parse.urlsplit(link.url).path

    def test_the_owner_completes_it(self, api, standin, receiver):
        made = account(api, business_profile={"name": "<Gigs> & co"})
        path = self.link(api, made)
        answer, page = ask(standin, "GET", path)
        assert answer.status == 200
        for text in ("Stripe stand-in", "Complete onboarding", "Leave it unfinished", "&lt;Gigs&gt; &amp; co"):
            assert text in page
        answer, _ = ask(standin, "POST", path, {"outcome": "complete"})
        assert (answer.status, answer.headers["Location"]) == (303, self.RETURN)
        assert api.accounts.retrieve(made.id).capabilities.transfers == "active"
        assert [event["type"] for event in receiver.wait_for(1)] == ["account.updated"]

    def test_or_leaves_it_unfinished_and_comes_back_all_the_same(self, api, standin):
        made = account(api)
        path = self.link(api, made)
        ask(standin, "GET", path)
        answer, _ = ask(standin, "POST", path, {"outcome": "leave"})
        assert answer.headers["Location"] == self.RETURN
        assert api.accounts.retrieve(made.id).details_submitted is False

    def test_a_link_holds_for_one_visit(self, api, standin):
        path = self.link(api, account(api))
        ask(standin, "GET", path)
        answer, _ = ask(standin, "GET", path)
        assert (answer.status, answer.headers["Location"]) == (303, self.REFRESH)
        ask(standin, "POST", path, {"outcome": "leave"})
        answer, _ = ask(standin, "POST", path, {"outcome": "complete"})
        assert (answer.status, answer.headers["Location"]) == (303, self.REFRESH)

    def test_a_link_holds_for_minutes(self, api, standin, monkeypatch):
        path = self.link(api, account(api))
        monkeypatch.setattr(standin.simulator, "now", lambda: int(time.time()) + accounts.LINK_SECONDS)
        answer, _ = ask(standin, "GET", path)
        assert (answer.status, answer.headers["Location"]) == (303, self.REFRESH)

    def test_other_sites_complete_nothing(self, api, standin):
        made = account(api)
        path = self.link(api, made)
        ask(standin, "GET", path)
        answer, _ = ask(standin, "POST", path, {"outcome": "complete"}, {"Sec-Fetch-Site": "cross-site"})
        assert answer.status == 403
        assert api.accounts.retrieve(made.id).details_submitted is False

    def test_a_link_that_was_never_made_leads_nowhere(self, api, standin):
        assert ask(standin, "GET", "/onboarding/link_x")[0].status == 404
        assert ask(standin, "GET", f"/onboarding/{intent(api).id}")[0].status == 404

    @pytest.mark.parametrize(
        ("changes", "param"),
        [
            ({"account": "acct_somebodys"}, None),
            ({"return_url": "javascript:alert(1)"}, "return_url"),
            ({"refresh_url": "nowhere"}, "refresh_url"),
            ({"type": "account_update"}, "type"),
        ],
    )
    def test_impossible_links_are_refused(self, api, changes, param):
        wanted = {"account": account(api).id, "type": "account_onboarding"}
        urls = {"return_url": self.RETURN, "refresh_url": self.REFRESH}
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            api.account_links.create(wanted | urls | changes)
        assert refusal.value.param == param
