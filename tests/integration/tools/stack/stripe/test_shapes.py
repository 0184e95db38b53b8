"""The stand-in's objects are Stripe's: every field that the SDK's class declares as never null, and none beside."""

import json

import pytest
import stripe
from stripe._object_classes import get_object_class

from tests.fixtures.stripe_shapes import Shape, differences
from tests.fixtures.stripe_standin import account, ask, control, intent, paid
from tools.stack.stripe.store import shown

KINDS = {
    "payment_intent",
    "charge",
    "refund",
    "event",
    "payment_method",
    "balance_transaction",
    "transfer",
    "transfer_reversal",
    "application_fee",
    "account",
    "dispute",
}


@pytest.fixture
def kept(api, standin):
    """Return everything that the stand-in keeps after a busy day."""
    intent(api, receipt_email="buyer@example.com", transfer_group="event")
    paid(api, "pm_card_threeDSecure2Required")
    with pytest.raises(stripe.CardError):
        paid(api, "pm_card_chargeDeclined")
    bank = paid(api, "pm_usBankAccount_success", currency="usd")
    ask(standin, "POST", f"/_standin/payment_intents/{bank.id}/settle", {"outcome": "succeed"})
    api.payment_intents.cancel(intent(api).id, {"cancellation_reason": "abandoned"})
    shared = paid(api, transfer_data={"destination": "acct_1"}, application_fee_amount=200)
    api.refunds.create({"payment_intent": shared.id, "reverse_transfer": True, "refund_application_fee": True})
    for card in ("pm_card_pendingRefund", "pm_card_refundFail"):
        refund = api.refunds.create({"payment_intent": paid(api, card).id})
        ask(standin, "POST", f"/_standin/refunds/{refund.id}/settle")
    disputed = paid(api, "pm_card_createDispute")
    control(standin, f"disputes/{api.disputes.list({'payment_intent': disputed.id}).data[0].id}/close", outcome="won")
    paid(api, "pm_card_createDisputeInquiry")
    opened = account(api)
    control(standin, f"accounts/{opened.id}", state="ready")
    api.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    rows = standin.simulator.store.execute("SELECT body FROM objects ORDER BY sequence")
    return [shown(json.loads(row["body"])) for row in rows]


def test_every_object_has_the_published_fields_and_no_others(kept):
    assert {body["object"] for body in kept} >= KINDS
    for body in kept:
        assert differences(body, get_object_class("V1", body["object"])) == [], body["object"]


def test_so_has_the_balance(api, kept):
    assert differences(api.balance.retrieve().to_dict(), stripe.Balance) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"colour": "red"}, ["+colour"]),
        ({"amount": None}, ["-amount"]),
        (
            {"destination_details": {"type": "card", "card": {"type": "refund", "mood": 1}}},
            ["+destination_details.card.mood"],
        ),
    ],
)
def test_a_difference_would_be_found(change, found):
    body = Shape(filled=False, expanded=False).complete(stripe.Refund) | change
    body = {name: value for name, value in body.items() if name != "amount" or value is not None}
    assert differences(body, stripe.Refund) == found
