"""The contract of `PaymentGateway`, kept alike by Stripe's adapter (over HTTP, with the stand-in) and by the fake."""

import json
import time
from uuid import uuid4

import pytest

from domain.errors import ForgedEventError, PermanentVendorError, RetryableVendorError
from domain.ports import Destination, RefundRequest
from tests.fixtures.payments import SECRET, asking, key, opened, paid
from tools.stack.stripe.webhooks import signature


class TestOpening:
    def test_an_intent_says_what_was_asked(self, gateway):
        request = asking(destination=Destination("acct_promoter", 300))
        intent = gateway.open_intent(request, key())
        assert intent.status == "requires_payment_method"
        assert (intent.amount, intent.amount_received, intent.currency) == (4200, 0, "EUR")
        assert intent.client_secret.startswith(f"{intent.id}_secret_")
        assert intent.livemode is False
        assert intent.account_id == "acct_promoter"
        assert intent.metadata["order_id"] == str(request.order_id)
        assert intent.metadata["attempt_id"] == str(request.reference)
        assert gateway.find_intent(intent.id) == intent

    def test_the_same_key_opens_one_intent(self, gateway):
        request, once = asking(), key()
        assert gateway.open_intent(request, once).id == gateway.open_intent(request, once).id

    def test_a_replay_shows_the_intent_as_it_is_now(self, gateway):
        request, once = asking(), key()
        intent = gateway.open_intent(request, once)
        gateway.confirm_intent(intent.id, "pm_card_visa", key())
        assert gateway.open_intent(request, once).status == "succeeded"

    def test_the_same_key_for_another_request_is_refused_for_good(self, gateway):
        once = key()
        gateway.open_intent(asking(), once)
        with pytest.raises(PermanentVendorError) as refusal:
            gateway.open_intent(asking(amount=1), once)
        assert refusal.value.code == "idempotency_error"


class TestConfirming:
    def test_a_good_card_pays(self, gateway):
        intent = paid(gateway)
        assert intent.status == "succeeded"
        assert intent.amount_received == 4200
        assert intent.charge_id.startswith("ch_")
        assert intent.error_code is None

    @pytest.mark.parametrize(
        ("method", "code"),
        [
            ("pm_card_chargeDeclined", "generic_decline"),
            ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
            ("pm_card_chargeDeclinedLostCard", "lost_card"),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
            ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
        ],
    )
    def test_a_declined_card_is_an_answer(self, gateway, method, code):
        intent = gateway.confirm_intent(opened(gateway).id, method, key())
        assert intent.status == "requires_payment_method"
        assert intent.error_code == code
        assert intent.error_message
        assert intent.amount_received == 0

    def test_after_a_decline_another_card_pays(self, gateway):
        intent = opened(gateway)
        gateway.confirm_intent(intent.id, "pm_card_chargeDeclined", key())
        again = gateway.confirm_intent(intent.id, "pm_card_visa", key())
        assert (again.status, again.error_code) == ("succeeded", None)

    def test_a_repeated_decline_shows_the_intent_as_it_is_now(self, gateway):
        intent, once = opened(gateway), key()
        gateway.confirm_intent(intent.id, "pm_card_chargeDeclined", once)
        gateway.confirm_intent(intent.id, "pm_card_visa", key())
        assert gateway.confirm_intent(intent.id, "pm_card_chargeDeclined", once).status == "succeeded"

    def test_an_intent_that_has_been_paid_is_returned(self, gateway):
        intent = paid(gateway)
        assert gateway.confirm_intent(intent.id, "pm_card_mastercard", key()) == intent

    def test_an_unknown_method_is_refused_for_good(self, gateway):
        with pytest.raises(PermanentVendorError) as refusal:
            gateway.confirm_intent(opened(gateway).id, "pm_nobodys", key())
        assert refusal.value.code == "resource_missing"


class TestThreeDSecure:
    def test_the_card_waits_for_its_owner(self, gateway):
        intent = gateway.confirm_intent(opened(gateway).id, "pm_card_authenticationRequired", key())
        assert intent.status == "requires_action"
        assert intent.next_action["type"] == "use_stripe_sdk"

    def test_consent_pays(self, world, gateway):
        intent = gateway.confirm_intent(opened(gateway).id, "pm_card_authenticationRequired", key())
        world.authenticate(intent.id, "succeed")
        after = gateway.find_intent(intent.id)
        assert (after.status, after.next_action, after.amount_received) == ("succeeded", None, 4200)

    def test_refusal_sends_the_buyer_back(self, world, gateway):
        intent = gateway.confirm_intent(opened(gateway).id, "pm_card_authenticationRequired", key())
        world.authenticate(intent.id, "fail")
        after = gateway.find_intent(intent.id)
        assert after.status == "requires_payment_method"
        assert after.error_code == "payment_intent_authentication_failure"

    def test_consent_can_be_followed_by_a_decline(self, world, gateway):
        method = "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"
        intent = gateway.confirm_intent(opened(gateway).id, method, key())
        world.authenticate(intent.id, "succeed")
        after = gateway.find_intent(intent.id)
        assert (after.status, after.error_code) == ("requires_payment_method", "insufficient_funds")


class TestProcessing:
    def processing(self, gateway, method="pm_usBankAccount_processing"):
        intent = gateway.confirm_intent(opened(gateway, currency="USD").id, method, key())
        assert intent.status == "processing"
        return intent

    @pytest.mark.parametrize(("outcome", "status"), [("succeed", "succeeded"), ("fail", "requires_payment_method")])
    def test_the_bank_decides_later(self, world, gateway, outcome, status):
        intent = self.processing(gateway)
        world.settle(intent.id, outcome)
        after = gateway.find_intent(intent.id)
        assert (after.status, bool(after.error_code)) == (status, outcome == "fail")

    def test_an_account_without_funds_is_declined_later(self, world, gateway):
        intent = self.processing(gateway, "pm_usBankAccount_insufficientFunds")
        world.settle(intent.id, "succeed")
        assert gateway.find_intent(intent.id).error_code == "insufficient_funds"

    def test_until_then_it_can_neither_be_cancelled_nor_paid_again(self, gateway):
        intent = self.processing(gateway)
        for act in (
            lambda: gateway.cancel_intent(intent.id),
            lambda: gateway.confirm_intent(intent.id, "pm_card_visa", key()),
        ):
            with pytest.raises(RetryableVendorError) as refusal:
                act()
            assert refusal.value.code == "payment_intent_unexpected_state"

    def test_a_refused_cancelling_can_be_repeated_once_the_bank_has_decided(self, world, gateway):
        intent = self.processing(gateway)
        with pytest.raises(RetryableVendorError):
            gateway.cancel_intent(intent.id)
        world.settle(intent.id, "fail")
        assert gateway.cancel_intent(intent.id).status == "canceled"


class TestCancelling:
    def test_an_unpaid_intent_is_cancelled(self, gateway):
        intent = opened(gateway)
        assert gateway.cancel_intent(intent.id).status == "canceled"
        assert gateway.find_intent(intent.id).status == "canceled"

    def test_a_waiting_authentication_is_cancelled(self, gateway):
        intent = gateway.confirm_intent(opened(gateway).id, "pm_card_authenticationRequired", key())
        assert gateway.cancel_intent(intent.id).status == "canceled"

    def test_a_paid_intent_is_returned_as_it_is(self, gateway):
        intent = paid(gateway)
        assert gateway.cancel_intent(intent.id) == intent

    def test_a_cancelled_intent_is_returned_as_it_is(self, gateway):
        intent = opened(gateway)
        cancelled = gateway.cancel_intent(intent.id)
        assert gateway.cancel_intent(intent.id) == cancelled

    def test_a_cancelled_intent_cannot_be_paid(self, gateway):
        intent = opened(gateway)
        gateway.cancel_intent(intent.id)
        assert gateway.confirm_intent(intent.id, "pm_card_visa", key()).status == "canceled"


class TestRefunding:
    def test_parts_add_up_to_the_whole_and_no_further(self, gateway):
        intent = paid(gateway)
        first = gateway.refund(RefundRequest(uuid4(), intent.id, 1200), key())
        assert (first.status, first.amount, first.currency, first.intent_id) == (
            "succeeded",
            1200,
            "EUR",
            intent.id,
        )
        with pytest.raises(PermanentVendorError):
            gateway.refund(RefundRequest(uuid4(), intent.id, 3001), key())
        gateway.refund(RefundRequest(uuid4(), intent.id, 3000), key())
        with pytest.raises(PermanentVendorError) as refusal:
            gateway.refund(RefundRequest(uuid4(), intent.id, 1), key())
        assert refusal.value.code == "charge_already_refunded"

    def test_a_refusal_stays_with_its_key(self, world, gateway):
        intent, once = paid(gateway), key()
        request = RefundRequest(uuid4(), intent.id, 4200)
        world.fund(sufficient=False)
        with pytest.raises(PermanentVendorError) as refusal:
            gateway.refund(request, once)
        assert refusal.value.code == "balance_insufficient"
        world.fund(sufficient=True)
        with pytest.raises(PermanentVendorError) as again:
            gateway.refund(request, once)
        assert again.value.code == "balance_insufficient"
        assert gateway.refund(request, key()).status == "succeeded"

    def test_the_same_key_refunds_once(self, gateway):
        intent, once = paid(gateway), key()
        request = RefundRequest(uuid4(), intent.id, 4200)
        assert gateway.refund(request, once) == gateway.refund(request, once)

    def test_an_unpaid_intent_has_nothing_to_refund(self, gateway):
        with pytest.raises(PermanentVendorError):
            gateway.refund(RefundRequest(uuid4(), opened(gateway).id, 100), key())

    def test_a_refund_can_be_read(self, gateway):
        refund = gateway.refund(RefundRequest(uuid4(), paid(gateway).id, 100), key())
        assert gateway.find_refund(refund.id) == refund

    def test_a_refund_is_found_by_our_name_for_it(self, gateway):
        intent, ours, others = paid(gateway), uuid4(), uuid4()
        refund = gateway.refund(RefundRequest(ours, intent.id, 100), key())
        gateway.refund(RefundRequest(others, intent.id, 200), key())
        assert gateway.find_refund_by_reference(intent.id, ours) == refund
        assert gateway.find_refund_by_reference(intent.id, uuid4()) is None
        assert gateway.find_refund_by_reference(paid(gateway).id, ours) is None


class TestFinding:
    def test_what_does_not_exist_is_refused_for_good(self, gateway):
        for find in (gateway.find_intent, gateway.find_refund):
            with pytest.raises(PermanentVendorError) as refusal:
                find("pi_nobodys")
            assert refusal.value.code == "resource_missing"


class TestReadingEvents:
    PAYLOAD = json.dumps({"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": {}}).encode()

    def test_a_signed_event_is_read(self, gateway):
        event = gateway.read_event(self.PAYLOAD, signature(SECRET, self.PAYLOAD, int(time.time())))
        assert (event.id, event.type) == ("evt_1", "payment_intent.succeeded")
        assert event.payload == json.loads(self.PAYLOAD)

    def test_another_secret_is_forged(self, gateway):
        with pytest.raises(ForgedEventError):
            gateway.read_event(self.PAYLOAD, signature("whsec_other", self.PAYLOAD, int(time.time())))

    def test_an_event_of_a_connected_account_names_it(self, gateway):
        payload = json.dumps(json.loads(self.PAYLOAD) | {"account": "acct_promoter"}).encode()
        event = gateway.read_event(payload, signature(SECRET, payload, int(time.time())))
        assert event.account == "acct_promoter"
        own = gateway.read_event(self.PAYLOAD, signature(SECRET, self.PAYLOAD, int(time.time())))
        assert own.account is None

    def test_a_changed_body_is_forged(self, gateway):
        header = signature(SECRET, self.PAYLOAD, int(time.time()))
        with pytest.raises(ForgedEventError):
            gateway.read_event(self.PAYLOAD.replace(b"evt_1", b"evt_2"), header)

    def test_five_minutes_later_it_is_stale(self, gateway):
        with pytest.raises(ForgedEventError):
            gateway.read_event(self.PAYLOAD, signature(SECRET, self.PAYLOAD, int(time.time()) - 310))

    @pytest.mark.parametrize("header", ["", "nonsense", "t=,v1=", "t=x,v1=y", "v1=abc"])
    def test_a_malformed_header_is_forged(self, gateway, header):
        with pytest.raises(ForgedEventError):
            gateway.read_event(self.PAYLOAD, header)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"object":"charge"}'])
    def test_a_signed_body_that_is_no_event_is_refused(self, gateway, body):
        with pytest.raises(ForgedEventError):
            gateway.read_event(body, signature(SECRET, body, int(time.time())))
