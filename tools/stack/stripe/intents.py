"""Payment intents and the moves that their status allows (docs.stripe.com/payments/paymentintents/lifecycle).

What a card does when an intent is confirmed stands in `payments.py`.
"""

from typing import Any

from tools.stack.stripe import connect, objects, payments
from tools.stack.stripe.call import Answer, Call
from tools.stack.stripe.currencies import check_amount, checked_currency
from tools.stack.stripe.errors import RefusalError, invalid, unfit
from tools.stack.stripe.listing import page
from tools.stack.stripe.parameters import merged
from tools.stack.stripe.payment_methods import refuse_spent, resolve
from tools.stack.stripe.store import shown

Body = dict[str, Any]

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELLABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action")
UPDATABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_ONLY_WITH_CONFIRM = ("error_on_requires_action", "off_session", "return_url")


def create(call: Call, parameters: Body) -> Body | Answer:
    """Create an intent, and confirm it at once where asked."""
    parameters["currency"] = checked_currency(parameters["currency"])
    check_amount(parameters["amount"], parameters["currency"])
    connect.check_shares(call, parameters)
    confirm_now = parameters.get("confirm", False)
    for name in _ONLY_WITH_CONFIRM:
        if name in parameters and not confirm_now:
            message = f"You can only use the `{name}` parameter when `confirm` is `true`."
            raise invalid(message, param=name)
    parameters["metadata"] = merged({}, parameters.get("metadata"))
    intent = objects.payment_intent(parameters, call.now)
    method = None
    if "payment_method" in parameters:
        method = resolve(call, parameters["payment_method"], "payment_method")
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    call.save(intent)
    call.emit("payment_intent.created", intent)
    return _confirm(call, intent, method, parameters) if confirm_now else intent


def retrieve(call: Call, parameters: Body) -> Body:
    """Return an intent; a client secret, where given, must be its own."""
    intent = call.find("payment_intent")
    if parameters.get("client_secret", intent["client_secret"]) != intent["client_secret"]:
        message = "The client_secret provided does not match the client_secret associated with this PaymentIntent."
        raise unfit(message, code="payment_intent_invalid_parameter", param="client_secret")
    return intent


def list_all(call: Call, parameters: Body) -> Body:
    """Return a page of intents."""
    return page(call, "payment_intent", "/v1/payment_intents", parameters)


def update(call: Call, parameters: Body) -> Body:
    """Change an intent that has not been paid; on one that has ended, only its words."""
    intent = call.find("payment_intent")
    words = {"description", "metadata", "receipt_email", "expand"}
    if intent["status"] not in UPDATABLE and set(parameters) - words:
        raise _unexpected("update", intent, UPDATABLE)
    changes = {name: value for name, value in parameters.items() if name != "expand"}
    if "currency" in changes:
        changes["currency"] = checked_currency(changes["currency"])
    if "metadata" in changes:
        changes["metadata"] = merged(intent["metadata"], changes["metadata"])
    if "payment_method" in changes:
        changes["payment_method"] = resolve(call, changes["payment_method"], "payment_method")["id"]
        changes |= {"status": "requires_confirmation", "next_action": None}
    if "transfer_data" in changes:
        changes["transfer_data"] = (intent["transfer_data"] or {}) | changes["transfer_data"]
    intent |= changes
    check_amount(intent["amount"], intent["currency"])
    connect.check_shares(call, intent)
    call.save(intent)
    return intent


def confirm(call: Call, parameters: Body) -> Body | Answer:
    """Pay an intent with the method given now, or with the one that it already has."""
    intent = call.find("payment_intent")
    if intent["status"] not in CONFIRMABLE:
        if intent["status"] == "succeeded":
            message = (
                "You cannot confirm this PaymentIntent because it has already succeeded after being previously "
                "confirmed."
            )
            raise unfit(message, code="payment_intent_unexpected_state", payment_intent=shown(intent))
        raise _unexpected("confirm", intent, CONFIRMABLE)
    method = None
    if "payment_method" in parameters:
        method = resolve(call, parameters["payment_method"], "payment_method")
    if "receipt_email" in parameters:
        intent["receipt_email"] = parameters["receipt_email"]
    return _confirm(call, intent, method, parameters)


def cancel(call: Call, parameters: Body) -> Body:
    """Cancel an intent that has not been paid."""
    intent = call.find("payment_intent")
    if intent["status"] not in CANCELLABLE:
        raise _unexpected("cancel", intent, CANCELLABLE)
    intent |= {
        "amount_capturable": 0,
        "canceled_at": call.now,
        "cancellation_reason": parameters.get("cancellation_reason"),
        "next_action": None,
        "status": "canceled",
    }
    call.save(intent)
    call.emit("payment_intent.canceled", intent)
    return intent


def authenticate(call: Call, *, succeed: bool) -> Body:
    """Let the card's owner consent to a payment that waits for it, or refuse."""
    intent = call.find("payment_intent")
    if intent["status"] != "requires_action":
        raise _unexpected("authenticate", intent, ("requires_action",))
    return payments.consent(call, intent, given=succeed)


def settle(call: Call, *, succeed: bool) -> Body:
    """Let the bank decide about a payment that is processing."""
    intent = call.find("payment_intent")
    if intent["status"] != "processing":
        raise _unexpected("settle", intent, ("processing",))
    return payments.settle(call, intent, succeed=succeed)


def _confirm(call: Call, intent: Body, method: Body | None, parameters: Body) -> Body | Answer:
    if method is None:
        if intent["payment_method"] is None:
            raise unfit(
                "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update "
                "the PaymentIntent with a payment method and then confirm it again, or confirm it again directly "
                "with a payment method or ConfirmationToken.",
                code="payment_intent_unexpected_state",
                payment_intent=shown(intent),
            )
        method = call.find("payment_method", intent["payment_method"], "payment_method")
    automatic = intent["automatic_payment_methods"]
    if automatic and automatic["allow_redirects"] != "never" and "return_url" not in parameters:
        raise unfit(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. "
            "If you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` "
            "to `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
            "Payment Intents.",
            param="return_url",
        )
    refuse_spent(method)
    return payments.attempt(call, intent, method, parameters)


def _unexpected(act: str, intent: Body, allowed: tuple[str, ...]) -> RefusalError:
    participle = {"cancel": "canceled", "confirm": "confirmed", "update": "updated"}.get(act, f"{act}d")
    return unfit(
        f"You cannot {act} this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
        f"with one of the following statuses may be {participle}: {', '.join(allowed)}.",
        code="payment_intent_unexpected_state",
        payment_intent=shown(intent),
    )
