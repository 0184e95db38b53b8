"""Disputes: an inquiry only asks, a chargeback takes the money and a fee, and a bank decides later.

See docs.stripe.com/disputes.
"""

from typing import Any

from tools.stack.stripe import objects
from tools.stack.stripe.call import Call
from tools.stack.stripe.errors import unfit
from tools.stack.stripe.ids import new_id
from tools.stack.stripe.listing import matching, page
from tools.stack.stripe.store import Condition

Body = dict[str, Any]

FEE = 1500
EVIDENCE_SECONDS = 9 * 24 * 3600
REASONS = (
    "bank_cannot_process",
    "check_returned",
    "credit_not_processed",
    "customer_initiated",
    "debit_not_authorized",
    "duplicate",
    "fraudulent",
    "general",
    "incorrect_account_details",
    "insufficient_funds",
    "noncompliant",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
)
CHARGEBACKS = ("needs_response", "under_review")
INQUIRIES = ("warning_needs_response", "warning_under_review")
MOST = 100

_EVIDENCE = (
    "access_activity_log",
    "appeal",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)


def retrieve(call: Call, parameters: Body) -> Body:
    """Return a dispute."""
    del parameters
    return call.find("dispute")


def list_all(call: Call, parameters: Body) -> Body:
    """Return a page of disputes, of one charge or intent where named."""
    return page(call, "dispute", "/v1/disputes", parameters, matching(parameters, "charge", "payment_intent"))


def dispute(call: Call, reason: str) -> Body:
    """Let the owner of the card dispute a charge that has gone through."""
    charge = call.find("charge")
    if charge["status"] != "succeeded":
        raise unfit(f"Charge {charge['id']} is {charge['status']}: there is nothing to dispute.")
    if any(found["status"] in {*CHARGEBACKS, *INQUIRIES} for found in _of(call, charge)):
        raise unfit(f"Charge {charge['id']} is disputed already.")
    if charge["refunded"]:
        raise unfit(f"Charge {charge['id']} has been refunded: there is nothing to dispute.")
    return open_case(call, charge, reason)


def open_case(call: Call, charge: Body, reason: str, *, inquiry: bool = False) -> Body:
    """Dispute what is left of a charge; unless its bank only inquires, the money is taken back at once."""
    made = _dispute(charge, reason, inquiry=inquiry, now=call.now)
    charge["disputed"] = True
    call.save(charge)
    if not inquiry:
        _move(call, made, -made["amount"], FEE)
    call.save(made)
    call.emit("charge.dispute.created", made)
    if not inquiry:
        call.emit("charge.dispute.funds_withdrawn", made)
    return made


def close(call: Call, *, won: bool) -> Body:
    """Let the bank decide: won gives the money back, without the fee; an inquiry can only come to nothing."""
    decided = call.find("dispute")
    if decided["status"] not in {*CHARGEBACKS, *INQUIRIES}:
        raise unfit(f"Dispute {decided['id']} is {decided['status']}: nothing is left to decide.")
    before = {"status": decided["status"]}
    if decided["status"] in INQUIRIES:
        if not won:
            raise unfit("An inquiry took no money, so it cannot be lost: dispute another charge to lose one.")
        decided["status"] = "warning_closed"
    else:
        decided |= {"status": "won" if won else "lost", "is_charge_refundable": won}
        if won:
            _move(call, decided, decided["amount"], 0)
    call.save(decided)
    if decided["status"] == "won":
        call.emit("charge.dispute.funds_reinstated", decided, previous=before)
    call.emit("charge.dispute.closed", decided, previous=before)
    return decided


def refundable(call: Call, charge: Body) -> bool:
    """Tell whether no dispute of a charge stands in the way of a refund."""
    return all(found["is_charge_refundable"] for found in _of(call, charge))


def _of(call: Call, charge: Body) -> list[Body]:
    conditions = [Condition("account = ?", (call.account,)), *matching({"charge": charge["id"]}, "charge")]
    return call.store.select("dispute", conditions, limit=MOST)


def _move(call: Call, of: Body, amount: int, fee: int) -> None:
    movement = objects.dispute_movement(of, amount, fee, call.now)
    call.save(movement)
    of["balance_transactions"].append(movement)


def _dispute(charge: Body, reason: str, *, inquiry: bool, now: int) -> Body:
    return {
        "id": new_id("du"),
        "object": "dispute",
        "amount": charge["amount"] - charge["amount_refunded"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(_EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": now + EVIDENCE_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "network_reason_code": "10" if inquiry else "10.4",
        "payment_intent": charge["payment_intent"],
        "payment_method_details": _method(charge, inquiry=inquiry),
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }


def _method(charge: Body, *, inquiry: bool) -> Body | None:
    card = charge["payment_method_details"].get("card")
    if card is None:
        return None
    shown = {
        "brand": card["brand"],
        "case_type": "inquiry" if inquiry else "chargeback",
        "network": card["network"],
        "network_reason_code": "10" if inquiry else "10.4",
    }
    return {"card": shown, "type": "card"}
