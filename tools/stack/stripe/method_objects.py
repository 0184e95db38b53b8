"""Payment methods as Stripe's reference documents them, and what a charge repeats of them."""

from typing import Any

from tools.stack.stripe.cards import BANKS, CARDS, Card
from tools.stack.stripe.ids import new_id

Body = dict[str, Any]


def card_method(name: str, parameters: Body, now: int) -> Body:
    """Return a payment method for a test card."""
    card = CARDS[name]
    shown = _card(card, parameters.get("card", {})) | {
        "display_brand": card.brand,
        "generated_from": None,
        "networks": {"available": [card.brand], "preferred": None},
        "three_d_secure_usage": {"supported": True},
    }
    return _method("card", shown, parameters, now) | {"_card": name}


def bank_method(name: str, now: int) -> Body:
    """Return a payment method for a test bank account."""
    shown = {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": f"standin{BANKS[name].last4}",
        "last4": BANKS[name].last4,
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": None,
    }
    holder = {"billing_details": {"name": "Jenny Rosen", "email": "jenny@example.com"}}
    return _method("us_bank_account", shown, holder, now) | {"_bank": name}


def details(method: Body, amount: int) -> Body:
    """Return what a charge says of the method that paid it."""
    if method["type"] == "card":
        return {"card": _charged_card(method, amount), "type": "card"}
    account = {
        key: value for key, value in method["us_bank_account"].items() if key not in {"networks", "status_details"}
    }
    account.pop("financial_connections_account")
    extra = {"expected_debit_date": None, "mandate": None, "payment_reference": None}
    return {"type": "us_bank_account", "us_bank_account": account | extra}


def _method(kind: str, shown: Body, parameters: Body, now: int) -> Body:
    return {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": _billing_details(parameters.get("billing_details", {})),
        kind: shown,
        "created": now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": parameters.get("metadata", {}),
        "type": kind,
    }


def _billing_details(given: Body) -> Body:
    address = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {
        "address": address | given.get("address", {}),
        "email": given.get("email"),
        "name": given.get("name"),
        "phone": given.get("phone"),
        "tax_id": given.get("tax_id"),
    }


def _card(card: Card, details: Body) -> Body:
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": card.country,
        "description": None,
        "exp_month": details.get("exp_month", 12),
        "exp_year": details.get("exp_year", 2034),
        "fingerprint": f"standin{card.number[-9:]}",
        "funding": card.funding,
        "iin": None,
        "issuer": None,
        "last4": card.last4,
        "regulated_status": "unregulated",
        "wallet": None,
    }


def _charged_card(method: Body, amount: int) -> Body:
    shared = {
        key: value
        for key, value in method["card"].items()
        if key not in {"display_brand", "generated_from", "networks", "three_d_secure_usage"}
    }
    empty = dict.fromkeys(
        ("capture_before", "electronic_commerce_indicator", "installments", "mandate", "moto", "network_token",
         "setup_credential_usage", "stored_credential_usage", "three_d_secure", "transaction_link_id")
    )  # fmt: skip
    return shared | empty | {
        "amount_authorized": amount,
        "authorization_code": "123456",
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "multicapture": {"status": "unavailable"},
        "network": shared["brand"],
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
    }  # fmt: skip
