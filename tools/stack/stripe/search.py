"""Search of charges, in the one form of Stripe's query language that is asked here (docs.stripe.com/search).

Stripe's own is behind its books by a minute or more; this one never is.
"""

import re
from typing import Any

from tools.stack.stripe.call import Call
from tools.stack.stripe.errors import invalid
from tools.stack.stripe.listing import page
from tools.stack.stripe.store import Condition

Body = dict[str, Any]

_QUERY = re.compile(r"metadata\['(?P<key>\w{1,40})'\]:'(?P<value>[^'\\]+)' AND status:'(?P<status>\w+)'")


def charges(call: Call, parameters: Body) -> Body:
    """Return a page of the charges that a query names, after the page that its cursor ends."""
    asked = dict(parameters)
    if "page" in asked:
        asked["starting_after"] = asked["page"]
        if call.store.position(call.account, "charge", asked["page"]) is None:
            raise invalid(f"Invalid page: {asked['page']}", param="page")
    found = page(call, "charge", "/v1/charges/search", asked, _conditions(asked["query"]))
    next_page = found["data"][-1]["id"] if found["has_more"] else None
    return found | {"object": "search_result", "next_page": next_page}


def _conditions(query: str) -> list[Condition]:
    clauses = _QUERY.fullmatch(query)
    if clauses is None:
        message = (
            'We were unable to parse your search query. Try using the format `metadata["key"]:"value"` to query for '
            'metadata or key:"value" to query for other fields. (This is a stand-in: it reads only '
            "`metadata['key']:'value' AND status:'value'`.)"
        )
        raise invalid(message, param="query")
    return [
        Condition("json_extract(body, ?) = ?", (f'$.metadata."{clauses["key"]}"', clauses["value"])),
        Condition("json_extract(body, '$.status') = ?", (clauses["status"],)),
    ]
