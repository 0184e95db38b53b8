"""Stripe's objects as the domain's values, and the domain's requests as parameters that Stripe documents."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import stripe
from stripe.params import AccountCreateParams, PaymentIntentCreateParams, RefundCreateParams

from domain.ports import (
    Account,
    AccountRequest,
    ChargeReading,
    Dispute,
    Intent,
    IntentRequest,
    OnboardingLink,
    ProviderEvent,
    Refund,
    RefundRequest,
)

REFUNDED_FEE = "charge.application_fee"
"""What to expand of each refund."""


def intent_params(request: IntentRequest) -> PaymentIntentCreateParams:
    """Return what to charge (docs.stripe.com/api/payment_intents/create)."""
    params: PaymentIntentCreateParams = {
        "amount": request.amount,
        "currency": request.currency.lower(),
        "description": request.description,
        "metadata": {
            "order_id": str(request.order_id),
            "order_number": request.order_number,
            "attempt_id": str(request.reference),
            "event_id": str(request.event_id),
        },
        # Without redirects a worker can confirm with no return_url, which Stripe demands otherwise; cards, wallets
        # and 3-D Secure in Stripe.js need none.
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
    }
    if request.receipt_email:
        params["receipt_email"] = request.receipt_email
    if request.destination:
        # A destination charge. No `on_behalf_of`: the platform sells, so it is the merchant on the buyer's statement,
        # and promoters need no card_payments capability (docs.stripe.com/connect/destination-charges).
        params["transfer_data"] = {"destination": request.destination.account_id}
        if request.destination.application_fee:
            # No fee is left out instead of being sent as zero: only then is nothing to be refunded of it.
            params["application_fee_amount"] = request.destination.application_fee
    return params


def refund_params(request: RefundRequest) -> RefundCreateParams:
    """Return what to give back (docs.stripe.com/api/refunds/create)."""
    params: RefundCreateParams = {
        "payment_intent": request.intent_id,
        "amount": request.amount,
        "metadata": {"refund_id": str(request.reference)},
        "expand": [REFUNDED_FEE],
    }
    # Stripe refuses both flags, even when false, on charges that have nothing to reverse.
    if request.reverse_transfer:
        params["reverse_transfer"] = True
    if request.refund_application_fee:
        params["refund_application_fee"] = True
    return params


def account_params(request: AccountRequest) -> AccountCreateParams:
    """Return an account to open for a promoter (docs.stripe.com/api/accounts/create).

    Its owner sees the Express dashboard and tells Stripe, not us, who they are; fees and losses are the platform's, as
    befits destination charges (docs.stripe.com/connect/migrate-to-controller-properties).
    """
    params: AccountCreateParams = {
        "controller": {
            "stripe_dashboard": {"type": "express"},
            "requirement_collection": "stripe",
            "fees": {"payer": "application"},
            "losses": {"payments": "application"},
        },
        "capabilities": {"transfers": {"requested": True}},
        "email": request.email,
        "business_profile": {"name": request.business_name},
        "metadata": {"promoter_id": str(request.reference)},
    }
    if request.country:
        params["country"] = request.country
    return params


def intent(found: stripe.PaymentIntent) -> Intent:
    """Return an intent."""
    body = found.to_dict()
    failure = body.get("last_payment_error") or {}
    transfer = body.get("transfer_data") or {}
    return Intent(
        id=found.id,
        status=found.status,
        amount=found.amount,
        amount_received=found.amount_received,
        currency=found.currency.upper(),
        client_secret=found.client_secret or "",
        livemode=found.livemode,
        account_id=_id(transfer.get("destination")),
        charge_id=_id(body.get("latest_charge")),
        next_action=body.get("next_action"),
        error_code=failure.get("decline_code") or failure.get("code"),
        error_message=failure.get("message"),
        metadata=body.get("metadata") or {},
    )


def refund(found: stripe.Refund) -> Refund:
    """Return a refund, of which the charge's application fee was expanded."""
    body = found.to_dict()
    return Refund(
        id=found.id,
        status=found.status or "pending",
        amount=found.amount,
        currency=found.currency.upper(),
        intent_id=_id(found.payment_intent),
        failure_reason=body.get("failure_reason"),
        reverses_transfer=body.get("transfer_reversal") is not None,
        returned_fee=_expanded(_expanded(body.get("charge")).get("application_fee")).get("amount_refunded", 0),
    )


def dispute(found: stripe.Dispute) -> Dispute:
    """Return a dispute."""
    body = found.to_dict()
    due_by = (body.get("evidence_details") or {}).get("due_by")
    return Dispute(
        id=found.id,
        status=found.status,
        reason=found.reason,
        amount=found.amount,
        currency=found.currency.upper(),
        intent_id=_id(body.get("payment_intent")),
        charge_id=str(_id(body["charge"])),
        withdrawn=_withdrawn(found),
        evidence_due_at=datetime.fromtimestamp(due_by, UTC) if due_by else None,
    )


def charge(found: stripe.Charge, disputes: Iterable[stripe.Dispute]) -> ChargeReading:
    """Return a charge, of which the application fee was expanded, with what its disputes took."""
    body = found.to_dict()
    fee = body.get("application_fee") or {"amount": 0, "amount_refunded": 0}
    return ChargeReading(
        id=found.id,
        intent_id=_id(body.get("payment_intent")),
        amount=found.amount,
        currency=found.currency.upper(),
        refunded=found.amount_refunded,
        fee=fee["amount"] - fee["amount_refunded"],
        withdrawn=sum(_withdrawn(found_dispute) for found_dispute in disputes),
    )


def account(found: stripe.Account) -> Account:
    """Return a connected account."""
    body = found.to_dict()
    return Account(
        id=found.id,
        details_submitted=bool(body.get("details_submitted")),
        can_take_payments=(body.get("capabilities") or {}).get("transfers") == "active",
        can_be_paid_out=bool(body.get("payouts_enabled")),
        disabled_reason=(body.get("requirements") or {}).get("disabled_reason"),
    )


def onboarding_link(made: stripe.AccountLink) -> OnboardingLink:
    """Return a link to onboarding."""
    return OnboardingLink(made.url, datetime.fromtimestamp(made.expires_at, UTC))


def event(body: dict[str, Any]) -> ProviderEvent:
    """Return an event from its complete body."""
    return ProviderEvent(id=str(body["id"]), type=str(body["type"]), payload=body, account=body.get("account"))


def _withdrawn(found: stripe.Dispute) -> int:
    # The movements are in the currency of our balance, maybe another than the charge's, so only their sign tells; a
    # reinstatement comes with a positive amount, and the fee of the dispute stands beside the amounts.
    return found.amount if sum(movement.amount for movement in found.balance_transactions) < 0 else 0


def _expanded(value: Any) -> Mapping[str, Any]:
    # What was not expanded, in an answer of the future, says nothing.
    return value if isinstance(value, dict) else {}


def _id(value: Any) -> str | None:
    # A field that can be expanded holds an id or the object itself.
    return value if isinstance(value, str) or value is None else str(value["id"])
