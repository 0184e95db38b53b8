"""Refunds: never more than was charged; at once for most test cards, later or in vain for two.

See docs.stripe.com/refunds.
"""

from typing import Any

from tools.stack.stripe import balance, connect, disputes, objects
from tools.stack.stripe.call import Call
from tools.stack.stripe.currencies import spoken
from tools.stack.stripe.errors import invalid, unfit
from tools.stack.stripe.listing import matching, page
from tools.stack.stripe.parameters import merged

Body = dict[str, Any]


def create(call: Call, parameters: Body) -> Body:
    """Give back a charge, whole or in part."""
    charge = _charge(call, parameters)
    left = charge["amount"] - charge["amount_refunded"]
    if not left:
        message = f"Charge {charge['id']} has already been refunded."
        raise unfit(message, code="charge_already_refunded")
    if not disputes.refundable(call, charge):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise unfit(message, code="charge_disputed")
    amount = parameters.get("amount", left)
    if amount > left:
        raise unfit(
            f"Refund amount ({spoken(amount, charge['currency'])}) is greater than unrefunded amount on charge "
            f"({spoken(left, charge['currency'])})",
            param="amount",
        )
    balance.check(call)
    parameters["metadata"] = merged({}, parameters.get("metadata"))
    refund = objects.refund(charge, amount, parameters, call.now)
    movement = objects.balance_transaction(refund, "refund", -amount, 0, call.now)
    refund |= {"balance_transaction": movement["id"], "_ends": charge["_refund"]}
    if charge["_refund"] == "pending":
        refund |= {"status": "pending", "pending_reason": "processing"}
    before = {name: charge[name] for name in ("amount_refunded", "refunded")}
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    connect.reverse(call, charge, refund, parameters)
    for body in (movement, refund, charge):
        call.save(body)
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge, previous=before)
    return refund


def retrieve(call: Call, parameters: Body) -> Body:
    """Return a refund."""
    del parameters
    return call.find("refund")


def update(call: Call, parameters: Body) -> Body:
    """Change a refund's metadata."""
    refund = call.find("refund")
    before = {"metadata": refund["metadata"]}
    refund["metadata"] = merged(refund["metadata"], parameters.get("metadata"))
    call.save(refund)
    call.emit("refund.updated", refund, previous=before)
    return refund


def list_all(call: Call, parameters: Body) -> Body:
    """Return a page of refunds, of one charge or intent where named."""
    return page(call, "refund", "/v1/refunds", parameters, matching(parameters, "charge", "payment_intent"))


def settle(call: Call, *, succeed: bool) -> Body:
    """Let time pass for a refund: a pending one succeeds or fails, one on the failing test card fails."""
    refund = call.find("refund")
    before = {"status": refund["status"]}
    is_doomed = refund["_ends"] == "fails" and refund["status"] == "succeeded"
    if is_doomed or (refund["status"] == "pending" and not succeed):
        _fail(call, refund)
    elif refund["status"] == "pending":
        refund |= {"status": "succeeded", "pending_reason": None}
        call.save(refund)
    else:
        raise unfit(f"Nothing more will happen to refund {refund['id']}: it is {refund['status']}.")
    call.emit("refund.updated", refund, previous=before)
    call.emit("charge.refund.updated", refund, previous=before)
    if refund["status"] == "failed":
        call.emit("refund.failed", refund)
    return refund


def _fail(call: Call, refund: Body) -> None:
    movement = objects.balance_transaction(refund, "refund_failure", refund["amount"], 0, call.now)
    refund |= {
        "failure_balance_transaction": movement["id"],
        "failure_reason": "expired_or_canceled_card",
        "pending_reason": None,
        "status": "failed",
    }
    charge = call.find("charge", refund["charge"], "charge")
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    for body in (movement, refund, charge):
        call.save(body)


def _charge(call: Call, parameters: Body) -> Body:
    if "charge" in parameters:
        charge = call.find("charge", parameters["charge"], "charge")
        if parameters.get("payment_intent", charge["payment_intent"]) != charge["payment_intent"]:
            message = f"The charge {charge['id']} does not belong to this PaymentIntent."
            raise unfit(message, param="payment_intent")
    elif "payment_intent" in parameters:
        intent = call.find("payment_intent", parameters["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise unfit(message, param="payment_intent")
        charge = call.find("charge", intent["latest_charge"], "payment_intent")
    else:
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise invalid(message, code="parameter_missing")
    if charge["status"] != "succeeded":
        raise unfit(f"Charge {charge['id']} has not succeeded and cannot be refunded.", param="charge")
    return charge
