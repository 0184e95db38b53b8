import json

import stripe

from tests.fixtures.stripe_standin import account, ask, control, paid


class TestObjects:
    def documented(self, kind):
        return {name for name in kind.__annotations__ if not name.isupper() and name != "deleted"}

    def test_intents_charges_refunds_and_movements_have_every_documented_field(self, api):
        made = paid(api, expand=["latest_charge.balance_transaction", "payment_method"])
        refund = api.refunds.create({"payment_intent": made.id})
        charge = made.latest_charge
        for body in (made, charge, charge.balance_transaction, refund):
            # These come only with what the stand-in does not do, or where they say something.
            optional = {"refunds", "failure_balance_transaction", "failure_reason", "instructions_email", "next_action"}
            missing = self.documented(type(body)) - set(body.to_dict())
            assert missing <= (optional if type(body) in {stripe.Charge, stripe.Refund} else set())

    def test_a_card_has_every_documented_field(self, api):
        method = api.payment_methods.retrieve("pm_card_visa")
        assert self.documented(stripe.PaymentMethod.Card) <= set(method.card.to_dict())
        assert self.documented(stripe.PaymentMethod.BillingDetails) <= set(method.billing_details.to_dict())
        charge = api.charges.retrieve(paid(api).latest_charge)
        card = charge.payment_method_details.card.to_dict()
        assert self.documented(stripe.Charge.PaymentMethodDetails.Card) <= set(card)
        assert self.documented(stripe.Charge.Outcome) <= set(charge.outcome.to_dict())

    def test_disputes_have_every_documented_field(self, api, standin):
        made = control(standin, f"charges/{paid(api).latest_charge}/dispute", reason="fraudulent")
        assert self.documented(stripe.Dispute) <= set(made)
        assert self.documented(stripe.Dispute.Evidence) <= set(made["evidence"])
        assert self.documented(stripe.Dispute.EvidenceDetails) <= set(made["evidence_details"])
        assert self.documented(stripe.BalanceTransaction) <= set(made["balance_transactions"][0])
        card = made["payment_method_details"]["card"]
        assert self.documented(stripe.Dispute.PaymentMethodDetails.Card) <= set(card)

    def test_accounts_have_every_documented_field(self, api):
        made = account(api).to_dict()
        # These come only for accounts whose papers the platform collects itself.
        assert self.documented(stripe.Account) - set(made) == {"company", "individual"}
        assert self.documented(stripe.Account.Controller) <= set(made["controller"])
        assert self.documented(stripe.Account.Requirements) <= set(made["requirements"])
        assert self.documented(stripe.Account.BusinessProfile) <= set(made["business_profile"])

    def test_account_links_have_every_documented_field_and_no_other(self, api):
        wanted = {"account": account(api).id, "type": "account_onboarding"}
        urls = {"return_url": "https://shop.example/back", "refresh_url": "https://shop.example/again"}
        made = api.account_links.create(wanted | urls).to_dict()
        assert set(made) == self.documented(stripe.AccountLink)

    def test_events_have_every_documented_field(self, api):
        paid(api)
        event = api.events.list().data[0].to_dict()
        assert self.documented(stripe.Event) - set(event) == {"account", "context"}
        assert event["livemode"] is False

    def test_our_own_notes_are_never_shown(self, api, standin):
        paid(api)
        for path in ("payment_intents", "charges", "events", "payment_methods"):
            _, body = ask(standin, "GET", f"/v1/{path}")
            assert body["data"]
            assert '"_' not in json.dumps(body)
