"""The objects as Stripe's reference documents them, every field, at the moment of their making.

What happens to them later stands with their noun; payment methods stand in `method_objects.py`.
"""

from typing import Any

from tools.stack.stripe import method_objects
from tools.stack.stripe.currencies import SUPPORTED
from tools.stack.stripe.ids import new_id

API_VERSION = "2026-10-28.endive"

Body = dict[str, Any]


# Documented fields that stay null: the stand-in never fills them, or only later.
_EMPTY_IN_AN_INTENT = (
    "allowed_payment_method_types",
    "application",
    "canceled_at",
    "cancellation_reason",
    "customer",
    "customer_account",
    "excluded_payment_method_types",
    "hooks",
    "last_payment_error",
    "latest_charge",
    "managed_payments",
    "next_action",
    "payment_details",
    "payment_method",
    "payment_method_configuration_details",
    "payment_record",
    "presentment_details",
    "processing",
    "review",
    "setup_future_usage",
    "shipping",
    "source",
)


def payment_intent(parameters: Body, now: int) -> Body:
    """Return an intent that has been asked for and not tried."""
    identifier = new_id("pi")
    automatic = parameters.get("automatic_payment_methods") or {"enabled": True}
    transfer = parameters.get("transfer_data")
    return {"id": identifier, "object": "payment_intent"} | dict.fromkeys(_EMPTY_IN_AN_INTENT) | {
        "amount": parameters["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application_fee_amount": parameters.get("application_fee_amount"),
        "automatic_payment_methods": {"allow_redirects": "always"} | automatic if automatic["enabled"] else None,
        "capture_method": parameters.get("capture_method", "automatic_async"),
        "client_secret": new_id(f"{identifier}_secret", 25),
        "confirmation_method": "automatic",
        "created": now,
        "currency": parameters["currency"],
        "description": parameters.get("description"),
        "livemode": False,
        "metadata": parameters.get("metadata", {}),
        "on_behalf_of": parameters.get("on_behalf_of"),
        "payment_method_options": {"card": {"installments": None, "mandate_options": None, "network": None,
                                            "request_three_d_secure": "automatic"}},
        "payment_method_types": ["card", "us_bank_account"] if parameters["currency"] == "usd" else ["card"],
        "receipt_email": parameters.get("receipt_email"),
        "statement_descriptor": parameters.get("statement_descriptor"),
        "statement_descriptor_suffix": parameters.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_data": {"amount": None} | transfer if transfer else None,
        "transfer_group": parameters.get("transfer_group"),
    }  # fmt: skip


# Documented fields that stay null: the stand-in never fills them, or only later.
_EMPTY_IN_A_CHARGE = (
    "application",
    "application_fee",
    "authorization_code",
    "balance_transaction",
    "customer",
    "failure_balance_transaction",
    "failure_code",
    "failure_message",
    "level3",
    "presentment_details",
    "receipt_number",
    "receipt_url",
    "review",
    "source",
    "source_transfer",
    "transfer",
)


_AUTHORIZED: Body = {
    "advice_code": None,
    "network_advice_code": None,
    "network_decline_code": None,
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "risk_score": 12,
    "rule": None,
    "seller_message": "Payment complete.",
    "type": "authorized",
}


def charge(intent: Body, method: Body, now: int) -> Body:
    """Return a charge that went well; a decline changes what differs."""
    return (
        {"id": new_id("ch"), "object": "charge"}
        | dict.fromkeys(_EMPTY_IN_A_CHARGE)
        | {
            "amount": intent["amount"],
            "amount_captured": intent["amount"],
            "amount_refunded": 0,
            "application_fee_amount": intent["application_fee_amount"],
            "billing_details": method["billing_details"],
            "calculated_statement_descriptor": "STAND-IN",
            "captured": True,
            "created": now,
            "currency": intent["currency"],
            "description": intent["description"],
            "disputed": False,
            "fraud_details": {},
            "livemode": False,
            "metadata": intent["metadata"],
            "on_behalf_of": intent["on_behalf_of"],
            "outcome": dict(_AUTHORIZED),
            "paid": True,
            "payment_intent": intent["id"],
            "payment_method": method["id"],
            "payment_method_details": method_objects.details(method, intent["amount"]),
            "radar_options": {},
            "receipt_email": intent["receipt_email"],
            "refunded": False,
            "shipping": intent["shipping"],
            "statement_descriptor": intent["statement_descriptor"],
            "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
            "status": "succeeded",
            "transfer_data": intent["transfer_data"],
            "transfer_group": intent["transfer_group"],
        }
    )


def refund(of: Body, amount: int, parameters: Body, now: int) -> Body:
    """Return a refund of a charge that has gone through."""
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": of["id"],
        "created": now,
        "currency": of["currency"],
        "customer": None,
        "customer_account": None,
        "description": None,
        "destination_details": {
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"},
            "type": "card",
        },
        "metadata": parameters.get("metadata", {}),
        "payment_intent": of["payment_intent"],
        "payment_method": of["payment_method"],
        "pending_reason": None,
        "presentment_details": None,
        "reason": parameters.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def balance_transaction(source: Body, kind: str, amount: int, fee: int, now: int) -> Body:
    """Return the movement of the balance that a charge (positive) or refund (negative) makes."""
    return _movement(source, amount, fee, now, description=source["description"], fee_for="Stripe processing fees") | {
        "reporting_category": kind,
        "type": kind,
    }


def dispute_movement(dispute: Body, amount: int, fee: int, now: int) -> Body:
    """Return the movement of the balance by which a dispute takes money (negative) or gives it back (positive)."""
    taken = amount < 0
    description = f"Chargeback {'withdrawal' if taken else 'reversal'} for {dispute['charge']}"
    return _movement(dispute, amount, fee, now, description=description, fee_for="Dispute fee") | {
        "reporting_category": "dispute" if taken else "dispute_reversal",
        "type": "adjustment",
    }


def _movement(source: Body, amount: int, fee: int, now: int, *, description: str | None, fee_for: str) -> Body:
    currency = source["currency"]
    fee_details = [
        {
            "amount": fee,
            "application": None,
            "currency": currency,
            "description": fee_for,
            "type": "stripe_fee",
        }
    ]
    return {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now,
        "balance_type": "payments",
        "created": now,
        "currency": currency,
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": fee_details if fee else [],
        "net": amount - fee,
        "source": source["id"],
        "status": "available",
    }


def balance(amounts: dict[str, int], *, available: bool) -> Body:
    """Return the balance, all of it available or all of it pending."""
    rows = [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sorted(amounts.items())
        if currency in SUPPORTED
    ]
    nothing = [row | {"amount": 0, "source_types": {"card": 0}} for row in rows]
    there, coming = (rows, nothing) if available else (nothing, rows)
    return {"object": "balance", "available": there, "livemode": False, "pending": coming}
