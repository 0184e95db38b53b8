"""What a payment method does to an intent: it pays, is declined, wants consent (3-D Secure), or takes its time."""

from typing import Any

from tools.stack.stripe import connect, disputes, objects
from tools.stack.stripe.call import Answer, Call
from tools.stack.stripe.cards import BANKS, CARDS, Decline
from tools.stack.stripe.errors import envelope, unfit
from tools.stack.stripe.ids import new_id
from tools.stack.stripe.store import shown

Body = dict[str, Any]

FEE_PER_MILLE, FEE_FIXED = 29, 30
_CONSENT_NEEDED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
_RETURNED = Decline("payment_method_customer_decline", "generic_decline", "The customer's bank returned the payment.")
_CONSENT_REFUSED = (
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
    "PaymentMethod to attempt to fulfill this PaymentIntent again."
)


def attempt(call: Call, intent: Body, method: Body, parameters: Body) -> Body | Answer:
    """Try to pay an intent with a method, as its card behaves."""
    intent |= {"payment_method": method["id"], "last_payment_error": None, "next_action": None}
    if method["type"] != "card":
        return debit(call, intent, method)
    card = CARDS[method["_card"]]
    if card.authentication:
        if parameters.get("off_session") or parameters.get("error_on_requires_action"):
            return decline(call, intent, method, _CONSENT_NEEDED)
        return ask_for_consent(call, intent, parameters)
    return charge(call, intent, method)


def ask_for_consent(call: Call, intent: Body, parameters: Body) -> Body:
    """Leave the intent in requires_action, with an address where a person can consent or refuse."""
    page = f"{call.base_url}/authenticate/{intent['id']}?client_secret={intent['client_secret']}"
    return_url = parameters.get("return_url")
    if return_url and not parameters.get("use_stripe_sdk"):
        action = {"redirect_to_url": {"return_url": return_url, "url": page}, "type": "redirect_to_url"}
    else:
        action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": page, "source": new_id("src")},
        }
    intent |= {"status": "requires_action", "next_action": action, "_return_url": return_url}
    call.save(intent)
    call.emit("payment_intent.requires_action", intent)
    return intent


def consent(call: Call, intent: Body, *, given: bool) -> Body:
    """End the authentication of an intent: go on to the charge, or back to requires_payment_method."""
    method = call.find("payment_method", intent["payment_method"], "payment_method")
    intent["next_action"] = None
    if given:
        charge(call, intent, method)
        return intent
    error = envelope(
        "invalid_request_error",
        _CONSENT_REFUSED,
        code="payment_intent_authentication_failure",
        payment_method=shown(method),
    )["error"]
    _fail(call, intent, error)
    return intent


def charge(call: Call, intent: Body, method: Body) -> Body | Answer:
    """Charge the card: the money comes, or the card is declined."""
    refusal = CARDS[method["_card"]].decline
    if refusal:
        return decline(call, intent, method, refusal)
    return _succeed(call, intent, method, objects.charge(intent, method, call.now))


def debit(call: Call, intent: Body, method: Body) -> Body:
    """Debit the bank account: whether the money comes is known only when the intent is settled."""
    if intent["currency"] != "usd":
        message = f"The payment method `us_bank_account` cannot be used with the currency {intent['currency']}."
        raise unfit(message, code="payment_intent_incompatible_payment_method", param="payment_method")
    waiting = objects.charge(intent, method, call.now) | {"paid": False, "status": "pending"}
    intent |= {"latest_charge": waiting["id"], "status": "processing"}
    call.save(waiting)
    call.save(intent)
    call.emit("charge.pending", waiting)
    call.emit("payment_intent.processing", intent)
    return intent


def settle(call: Call, intent: Body, *, succeed: bool) -> Body:
    """End the processing of an intent, as the bank decides; an account without funds never pays."""
    method = call.find("payment_method", intent["payment_method"], "payment_method")
    waiting = call.find("charge", intent["latest_charge"], "charge")
    refusal = BANKS[method["_bank"]].decline or (None if succeed else _RETURNED)
    if refusal:
        decline(call, intent, method, refusal, waiting)
    else:
        _succeed(call, intent, method, waiting | {"paid": True, "status": "succeeded"})
    return intent


def _succeed(call: Call, intent: Body, method: Body, paid: Body) -> Body:
    card = CARDS[method["_card"]] if method["type"] == "card" else None
    fee = (intent["amount"] * FEE_PER_MILLE + 500) // 1000 + FEE_FIXED
    movement = objects.balance_transaction(paid, "charge", paid["amount"], min(fee, paid["amount"]), call.now)
    paid |= {
        "balance_transaction": movement["id"],
        "receipt_url": f"{call.base_url}/#{paid['id']}",
        "_refund": card.refund if card else "succeeds",
    }
    connect.share(call, paid)
    intent |= {
        "amount_received": intent["amount"],
        "latest_charge": paid["id"],
        "status": "succeeded",
        "transfer_group": paid["transfer_group"],
    }
    method["_spent"] = True
    for body in (movement, paid, intent, method):
        call.save(body)
    call.emit("charge.succeeded", paid)
    call.emit("payment_intent.succeeded", intent)
    if card and card.dispute:
        disputes.open_case(call, paid, card.dispute, inquiry=card.inquiry)
    return intent


def decline(call: Call, intent: Body, method: Body, reason: Decline, waiting: Body | None = None) -> Answer:
    """Record a failed charge and send the intent back for another method; the answer is 402."""
    failed = (waiting or objects.charge(intent, method, call.now)) | {
        "amount_captured": 0,
        "captured": False,
        "failure_code": reason.code,
        "failure_message": reason.message,
        "outcome": _outcome(reason),
        "paid": False,
        "status": "failed",
    }
    intent["latest_charge"] = failed["id"]
    error = envelope(
        "card_error",
        reason.message,
        code=reason.code,
        advice_code=reason.advice,
        charge=failed["id"],
        decline_code=reason.decline_code,
        payment_method=shown(method),
    )["error"]
    call.save(failed)
    call.emit("charge.failed", failed)
    _fail(call, intent, error)
    return Answer(402, {"error": error | {"payment_intent": shown(intent)}})


def _fail(call: Call, intent: Body, error: Body) -> None:
    intent |= {"last_payment_error": error, "payment_method": None, "status": "requires_payment_method"}
    call.save(intent)
    call.emit("payment_intent.payment_failed", intent)


def _outcome(reason: Decline) -> Body:
    return {
        "advice_code": reason.advice,
        "network_advice_code": None,
        "network_decline_code": None if reason.blocked else "05",
        "network_status": "not_sent_to_network" if reason.blocked else "declined_by_network",
        "reason": "highest_risk_level" if reason.blocked else reason.decline_code,
        "risk_level": "highest" if reason.blocked else "normal",
        "risk_score": 92 if reason.blocked else 12,
        "rule": None,
        "seller_message": (
            "Stripe blocked this payment as too risky."
            if reason.blocked
            else "The bank did not return any further details with this decline."
        ),
        "type": "blocked" if reason.blocked else "issuer_declined",
    }
