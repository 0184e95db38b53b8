"""The balance: what all movements come to, and whether any of it is there to be given back."""

from typing import Any

from tools.stack.stripe import objects
from tools.stack.stripe.call import Call
from tools.stack.stripe.errors import unfit
from tools.stack.stripe.store import Store

Body = dict[str, Any]

_NOTE = "standin_balance"


def retrieve(call: Call, parameters: Body) -> Body:
    """Return the sums of all movements by currency."""
    del parameters
    return of(call.store, call.account)


def of(store: Store, account: str) -> Body:
    """Return the balance of an account; while it does not suffice, all of it is pending."""
    rows = store.execute(
        "SELECT json_extract(body, '$.currency') AS currency, sum(json_extract(body, '$.net')) AS net "
        "FROM objects WHERE kind = 'balance_transaction' AND account = ? GROUP BY 1",
        (account,),
    )
    return objects.balance({row["currency"]: row["net"] for row in rows}, available=suffices(store))


def suffices(store: Store) -> bool:
    """Tell whether refunds find the money that they need."""
    note = store.get("", _NOTE)
    return note is None or bool(note["sufficient"])


def let_suffice(store: Store, *, sufficient: bool) -> None:
    """Let refunds find the money that they need from now on, or not."""
    store.put("", {"id": _NOTE, "object": _NOTE, "sufficient": sufficient})


def check(call: Call) -> None:
    """Refuse what the available balance does not cover (docs.stripe.com/refunds, docs.stripe.com/error-codes)."""
    if not suffices(call.store):
        message = "Insufficient funds in your Stripe balance to refund this amount."
        raise unfit(message, code="balance_insufficient")
