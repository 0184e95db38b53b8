"""Lists with cursors, newest first, and their filters (docs.stripe.com/api/pagination)."""

from collections.abc import Sequence
from typing import Any

from tools.stack.stripe.call import Call
from tools.stack.stripe.errors import invalid, missing_resource
from tools.stack.stripe.store import Condition

Body = dict[str, Any]

DEFAULT_LIMIT, LARGEST_LIMIT = 10, 100
_COMPARISONS = {
    "eq": "created = ?",
    "gt": "created > ?",
    "gte": "created >= ?",
    "lt": "created < ?",
    "lte": "created <= ?",
}


def page(call: Call, kind: str, url: str, parameters: Body, conditions: Sequence[Condition] = ()) -> Body:
    """Return one page of an account's objects of a kind, after or before a cursor."""
    limit = parameters.get("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= LARGEST_LIMIT:
        raise invalid("Invalid limit: must be between 1 and 100", code="parameter_invalid_integer", param="limit")
    if "starting_after" in parameters and "ending_before" in parameters:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before.")
    backwards = "ending_before" in parameters
    found = call.store.select(
        kind,
        [
            Condition("account = ?", (call.account,)),
            *conditions,
            *_created(parameters),
            *_cursor(call, kind, parameters),
        ],
        limit=limit + 1,
        oldest_first=backwards,
    )
    data = found[:limit]
    return {
        "object": "list",
        "url": url,
        "has_more": len(found) > limit,
        "data": data[::-1] if backwards else data,
    }


def matching(parameters: Body, *fields: str) -> list[Condition]:
    """Return the conditions for parameters that name a field of the objects themselves."""
    clauses = {
        "payment_intent": "json_extract(body, '$.payment_intent') = ?",
        "charge": "json_extract(body, '$.charge') = ?",
    }
    return [Condition(clauses[name], (parameters[name],)) for name in fields if name in parameters]


def _created(parameters: Body) -> list[Condition]:
    bounds: dict[str, int] = parameters.get("created", {})
    return [Condition(_COMPARISONS[name], (moment,)) for name, moment in bounds.items()]


def _cursor(call: Call, kind: str, parameters: Body) -> list[Condition]:
    for name, clause in (("starting_after", "sequence < ?"), ("ending_before", "sequence > ?")):
        if name in parameters:
            position = call.store.position(call.account, kind, parameters[name])
            if position is None:
                raise missing_resource(kind, parameters[name], name, named=True)
            return [Condition(clause, (position,))]
    return []
