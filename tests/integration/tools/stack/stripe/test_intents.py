import json

import pytest
import stripe

from tests.fixtures.stripe_standin import ask, intent, paid


class TestIntents:
    def test_metadata_is_merged(self, api):
        made = intent(api, metadata={"order_id": "1", "note": "x"})
        api.payment_intents.update(made.id, {"metadata": {"note": "", "seat": "4"}})
        assert api.payment_intents.retrieve(made.id).metadata.to_dict() == {"order_id": "1", "seat": "4"}

    def test_a_decline_answers_402_with_the_intent(self, api):
        made = intent(api)
        with pytest.raises(stripe.CardError) as refusal:
            api.payment_intents.confirm(made.id, {"payment_method": "pm_card_chargeDeclinedInsufficientFunds"})
        error = refusal.value
        assert (error.http_status, error.code, error.error.decline_code) == (402, "card_declined", "insufficient_funds")
        assert error.error.payment_intent.status == "requires_payment_method"
        charge = api.charges.retrieve(error.error.charge)
        assert (charge.status, charge.paid, charge.outcome.type) == ("failed", False, "issuer_declined")

    def test_redirects_need_a_way_back(self, api):
        made = api.payment_intents.create({"amount": 2000, "currency": "eur"})
        with pytest.raises(stripe.InvalidRequestError, match="return_url"):
            api.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})
        back = {"payment_method": "pm_card_threeDSecure2Required", "return_url": "https://shop.example/back?order=1"}
        waiting = api.payment_intents.confirm(made.id, back)
        assert waiting.next_action.type == "redirect_to_url"
        assert waiting.next_action.redirect_to_url.return_url == "https://shop.example/back?order=1"

    def test_off_session_a_card_that_wants_consent_is_declined(self, api):
        with pytest.raises(stripe.CardError) as refusal:
            paid(api, "pm_card_authenticationRequired", off_session=True)
        assert refusal.value.code == "authentication_required"

    def test_a_method_pays_once(self, api):
        method = api.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
        paid(api, method.id)
        with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
            paid(api, method.id)

    def test_a_failed_creation_leaves_nothing(self, api):
        with pytest.raises(stripe.InvalidRequestError):
            intent(api, payment_method="pm_nobodys")
        assert api.payment_intents.list().data == []
        assert api.events.list().data == []

    def test_the_client_secret_must_be_the_intents_own(self, api):
        made = intent(api)
        assert api.payment_intents.retrieve(made.id, {"client_secret": made.client_secret}).id == made.id
        with pytest.raises(stripe.InvalidRequestError):
            api.payment_intents.retrieve(made.id, {"client_secret": "pi_x_secret_y"})

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"amount": 49}, "amount_too_small"),
            ({"amount": 0}, "parameter_invalid_integer"),
            ({"amount": "many"}, "parameter_invalid_integer"),
            ({"amount": ""}, "parameter_invalid_empty"),
            ({"receipt_email": "nobody"}, "email_invalid"),
            ({"colour": "red"}, "parameter_unknown"),
            ({"payment_method_types": ["card"]}, "payment_method_types_no_longer_supported"),
            ({"customer": "cus_1"}, "standin_not_simulated"),
            ({"transfer_data": {"destination": "nowhere"}}, "resource_missing"),
        ],
    )
    def test_bad_requests_are_refused_with_stripes_codes(self, api, changes, code):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            intent(api, **changes)
        assert (refusal.value.http_status, refusal.value.code) == (400, code)
        assert refusal.value.param

    def test_only_documented_test_numbers_become_cards(self, api, standin):
        card = {"number": "4000000000000002", "exp_month": 1, "exp_year": 2040, "cvc": "123"}
        assert api.payment_methods.create({"type": "card", "card": card}).card.last4 == "0002"
        form = {"type": "card", "card[number]": "4111111111111111", "card[exp_month]": 1, "card[exp_year]": 2040}
        answer, body = ask(standin, "POST", "/v1/payment_methods", form)
        assert answer.status == 400
        assert "4111" not in json.dumps(body)
