import pytest
import stripe

from tests.fixtures.stripe_standin import ask, control, paid


def available(api):
    return {row.currency: row.amount for row in api.balance.retrieve().available}


class TestDisputes:
    def disputed(self, api, standin, **changes):
        return control(standin, f"charges/{paid(api, **changes).latest_charge}/dispute", reason="fraudulent")

    def test_a_chargeback_takes_the_money_and_a_fee_and_says_so(self, api, standin, receiver):
        made = self.disputed(api, standin)
        receiver.wait_for(5)
        assert receiver.types[3:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
        (movement,) = api.disputes.retrieve(made["id"]).balance_transactions
        assert (movement.amount, movement.fee, movement.net, movement.type) == (-2000, 1500, -3500, "adjustment")
        assert movement.source == made["id"]
        assert available(api) == {"eur": 2000 - 88 - 3500}
        assert api.charges.retrieve(made["charge"]).disputed is True

    def test_one_that_is_won_brings_the_money_back_without_the_fee(self, api, standin, receiver):
        made = self.disputed(api, standin)
        control(standin, f"disputes/{made['id']}/close", outcome="won")
        receiver.wait_for(7)
        assert receiver.types[5:] == ["charge.dispute.funds_reinstated", "charge.dispute.closed"]
        assert [body["data"]["object"]["status"] for body, _ in receiver.received[5:]] == ["won", "won"]
        assert available(api) == {"eur": 2000 - 88 - 1500}

    def test_one_that_is_lost_brings_nothing_back(self, api, standin, receiver):
        made = self.disputed(api, standin)
        control(standin, f"disputes/{made['id']}/close", outcome="lost")
        receiver.wait_for(6)
        assert receiver.types[5:] == ["charge.dispute.closed"]
        assert api.disputes.retrieve(made["id"]).status == "lost"
        assert available(api) == {"eur": 2000 - 88 - 3500}

    def test_an_inquiry_takes_nothing_and_cannot_be_lost(self, api, standin, receiver):
        made = paid(api, "pm_card_createDisputeInquiry")
        receiver.wait_for(4)
        assert receiver.types[3:] == ["charge.dispute.created"]
        (found,) = api.disputes.list({"payment_intent": made.id}).data
        assert (found.balance_transactions, found.is_charge_refundable) == ([], True)
        assert found.payment_method_details.card.case_type == "inquiry"
        answer, _ = ask(standin, "POST", f"/_standin/disputes/{found.id}/close", {"outcome": "lost"})
        assert answer.status == 400
        assert control(standin, f"disputes/{found.id}/close", outcome="won")["status"] == "warning_closed"

    def test_they_are_found_by_charge_and_by_intent(self, api, standin):
        first, second = self.disputed(api, standin), self.disputed(api, standin)
        assert [found.id for found in api.disputes.list().data] == [second["id"], first["id"]]
        assert [found.id for found in api.disputes.list({"charge": first["charge"]}).data] == [first["id"]]
        found = api.disputes.list({"payment_intent": second["payment_intent"], "expand": ["data.charge"]}).data[0]
        assert (found.id, found.charge.id) == (second["id"], second["charge"])

    def test_the_application_fee_and_the_transfer_stay_as_they_are(self, api, standin):
        shares = {"application_fee_amount": 100, "transfer_data": {"destination": "acct_1"}}
        made = self.disputed(api, standin, **shares)
        charge = api.charges.retrieve(made["charge"], {"expand": ["application_fee", "transfer"]})
        assert (charge.application_fee.amount_refunded, charge.transfer.amount_reversed) == (0, 0)

    def test_only_what_was_paid_and_is_still_there_is_disputed_and_only_once(self, api, standin):
        whole = paid(api)
        api.refunds.create({"payment_intent": whole.id})
        waiting = paid(api, "pm_usBankAccount_processing", currency="usd")
        once = self.disputed(api, standin)
        for charge in (whole.latest_charge, waiting.latest_charge, once["charge"]):
            answer, _ = ask(standin, "POST", f"/_standin/charges/{charge}/dispute", {"reason": "fraudulent"})
            assert answer.status == 400
        control(standin, f"disputes/{once['id']}/close", outcome="lost")
        answer, _ = ask(standin, "POST", f"/_standin/disputes/{once['id']}/close", {"outcome": "won"})
        assert answer.status == 400

    @pytest.mark.parametrize("fields", [{}, {"reason": "boredom"}])
    def test_the_reason_must_be_one_of_stripes(self, api, standin, fields):
        charge = paid(api).latest_charge
        assert ask(standin, "POST", f"/_standin/charges/{charge}/dispute", fields)[0].status == 400


class TestRefusedRefunds:
    def test_what_was_charged_back_is_not_refunded(self, api, standin):
        made = paid(api, "pm_card_createDispute")
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            api.refunds.create({"payment_intent": made.id})
        assert (refusal.value.http_status, refusal.value.code) == (400, "charge_disputed")

    def test_without_balance_nothing_is_refunded(self, api, standin):
        made = paid(api)
        shown = control(standin, "balance", sufficient="false")
        assert shown["available"][0]["amount"] == 0
        (pending,) = api.balance.retrieve().pending
        assert pending.amount == 2000 - 88
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            api.refunds.create({"payment_intent": made.id})
        assert (refusal.value.http_status, refusal.value.code) == (400, "balance_insufficient")
        assert api.charges.retrieve(made.latest_charge).amount_refunded == 0
        control(standin, "balance", sufficient="true")
        assert api.refunds.create({"payment_intent": made.id}).status == "succeeded"
