"""`expand[]`: ids replaced by the objects they name (docs.stripe.com/expand)."""

from typing import Any

from tools.stack.stripe.call import Call
from tools.stack.stripe.errors import invalid

Body = dict[str, Any]

DEEPEST = 4
_EXPANDABLE = {
    "payment_intent": {"customer", "latest_charge", "on_behalf_of", "payment_method", "review"},
    "charge": {"application_fee", "balance_transaction", "customer", "payment_intent", "review", "transfer"},
    "dispute": {"charge", "payment_intent"},
    "refund": {"balance_transaction", "charge", "failure_balance_transaction", "payment_intent", "transfer_reversal"},
    "balance_transaction": {"source"},
    "application_fee": {"charge"},
    "transfer": {"source_transaction"},
}


def expand(call: Call, body: Body, paths: list[str]) -> Body:
    """Return the body with every path expanded; refuse a path that Stripe would not expand."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > DEEPEST:
            raise invalid(f"You cannot expand more than {DEEPEST} levels of a property: {path}", param="expand")
        _walk(call, body, steps, path)
    return body


def _walk(call: Call, body: Body, steps: list[str], path: str) -> None:
    step, *rest = steps
    if body.get("object") in {"list", "search_result"} and step == "data":
        for item in body["data"]:
            if rest:
                _walk(call, item, rest, path)
        return
    if step not in _EXPANDABLE.get(body.get("object", ""), ()):
        raise invalid(f"This property cannot be expanded ({path}).", param="expand")
    if isinstance(body.get(step), str):
        body[step] = call.store.get(call.account, body[step]) or body[step]
    if rest and isinstance(body.get(step), dict):
        _walk(call, body[step], rest, path)
