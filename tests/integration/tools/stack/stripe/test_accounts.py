import pytest
import stripe

from tests.fixtures.stripe_standin import NEVER, ask, intent, paid
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
