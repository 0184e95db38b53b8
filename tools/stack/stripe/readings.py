"""What can only be read: charges, events, and the objects behind the balance."""

from typing import Any

from tools.stack.stripe.call import Call
from tools.stack.stripe.errors import invalid
from tools.stack.stripe.listing import matching, page
from tools.stack.stripe.store import Condition

Body = dict[str, Any]


def charge(call: Call, parameters: Body) -> Body:
    """Return a charge."""
    del parameters
    return call.find("charge")


def charges(call: Call, parameters: Body) -> Body:
    """Return a page of charges, of one intent where named."""
    return page(call, "charge", "/v1/charges", parameters, matching(parameters, "payment_intent"))


def event(call: Call, parameters: Body) -> Body:
    """Return an event as it was when it happened."""
    del parameters
    return call.find("event")


def events(call: Call, parameters: Body) -> Body:
    """Return a page of events, of certain types or deliveries where asked."""
    if "type" in parameters and "types" in parameters:
        message = "You may only specify one of these parameters: type, types."
        raise invalid(message, code="parameters_exclusive", param="type")
    conditions = []
    types = [parameters["type"]] if "type" in parameters else parameters.get("types")
    if types:
        clause = " OR ".join(["json_extract(body, '$.type') GLOB ?"] * len(types))
        conditions.append(Condition(f"({clause})", tuple(name.replace("[", "[[]") for name in types)))
    if "delivery_success" in parameters:
        verb = "EXISTS" if parameters["delivery_success"] else "NOT EXISTS"
        of_event = "SELECT 1 FROM deliveries WHERE event_id = objects.id AND state = 'delivered'"
        conditions.append(Condition(f"{verb} ({of_event})"))
    return page(call, "event", "/v1/events", parameters, conditions)


def balance_transaction(call: Call, parameters: Body) -> Body:
    """Return one movement of the balance."""
    del parameters
    return call.find("balance_transaction")


def balance_transactions(call: Call, parameters: Body) -> Body:
    """Return a page of movements of the balance."""
    return page(call, "balance_transaction", "/v1/balance_transactions", parameters)


def transfer(call: Call, parameters: Body) -> Body:
    """Return a transfer to a connected account."""
    del parameters
    return call.find("transfer")


def application_fee(call: Call, parameters: Body) -> Body:
    """Return the platform's fee on a charge."""
    del parameters
    return call.find("application_fee")
