"""Payment methods: test cards by name, by token, or by their documented numbers."""

from typing import Any

from tools.stack.stripe import method_objects
from tools.stack.stripe.call import Call
from tools.stack.stripe.cards import BANKS, name_of_method, name_of_number, name_of_token
from tools.stack.stripe.errors import invalid, unfit
from tools.stack.stripe.listing import page

Body = dict[str, Any]


def create(call: Call, parameters: Body) -> Body:
    """Create a payment method for a test card; a number that is no documented test number is refused unread."""
    method = method_objects.card_method(_card_name(parameters), parameters, call.now)
    call.save(method)
    return method


def retrieve(call: Call, parameters: Body) -> Body:
    """Return a payment method; a test card by name is made on the spot, as Stripe does."""
    del parameters
    return resolve(call, call.identifier)


def list_all(call: Call, parameters: Body) -> Body:
    """Return a page of payment methods."""
    return page(call, "payment_method", "/v1/payment_methods", parameters)


def resolve(call: Call, identifier: str, param: str | None = None) -> Body:
    """Return the payment method of this id; the name of a test card or bank account gives a new one."""
    name = name_of_method(identifier)
    if name is not None:
        method = method_objects.card_method(name, {}, call.now)
    elif identifier in BANKS:
        method = method_objects.bank_method(identifier, call.now)
    else:
        return call.find("payment_method", identifier, param)
    call.save(method)
    return method


def refuse_spent(method: Body) -> None:
    """Refuse a method that has paid before: without a customer, Stripe takes each only once."""
    if method.get("_spent"):
        raise unfit(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, "
            "shared with a connected account without Customer attachment, or was detached from a Customer. It "
            "may not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.",
            param="payment_method",
        )


def _card_name(parameters: Body) -> str:
    card = parameters.get("card")
    if not card:
        raise invalid("Missing required param: card.", code="parameter_missing", param="card")
    if "token" in card:
        name = name_of_token(card["token"])
        if name is None:
            message = f"No such token: '{card['token']}'"
            raise invalid(message, code="resource_missing", param="card[token]")
        return name
    for part in ("number", "exp_month", "exp_year"):
        if part not in card:
            message = f"Missing required param: card[{part}]."
            raise invalid(message, code="parameter_missing", param=f"card[{part}]")
    name = name_of_number(card["number"])
    if name is None:
        # The number is neither kept nor repeated: it could be somebody's.
        raise invalid(
            "Sending credit card numbers directly to the Stripe API is generally unsafe. This stand-in takes "
            "only the test numbers of docs.stripe.com/testing.",
            param="card[number]",
        )
    return name
