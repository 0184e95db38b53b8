"""Refusals in Stripe's error envelope (docs.stripe.com/api/errors).

A refusal of a malformed request is forgotten; one made while executing is stored under the idempotency key.
"""

from collections.abc import Mapping
from typing import Any

Body = dict[str, Any]

OWN_CODES = "standin_"


class RefusalError(Exception):
    """An error answer: `executed` tells whether the endpoint had begun, so that a replay repeats it."""

    def __init__(
        self, status: int, body: Body, *, executed: bool = False, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(body["error"]["message"])
        self.status = status
        self.body = body
        self.executed = executed
        self.headers = headers or {}


class ConnectionCutError(Exception):
    """The answer is not to be sent: the connection ends here."""


def envelope(kind: str, message: str, *, code: str | None = None, param: str | None = None, **more: Any) -> Body:
    """Return an error body; keys without a value are left out, as Stripe does."""
    error: Body = {"message": message, "type": kind}
    if code:
        error["code"] = code
    if code and not code.startswith(OWN_CODES):
        error["doc_url"] = f"https://docs.stripe.com/error-codes#{code.replace('_', '-')}"
    if param:
        error["param"] = param
    return {"error": error | {key: value for key, value in more.items() if value is not None}}


def invalid(message: str, *, code: str | None = None, param: str | None = None, status: int = 400) -> RefusalError:
    """Return the refusal of a request that cannot be right, whatever the state."""
    return RefusalError(status, envelope("invalid_request_error", message, code=code, param=param))


def unfit(message: str, *, code: str | None = None, param: str | None = None, **more: Any) -> RefusalError:
    """Return the refusal of a request that the present state does not allow."""
    body = envelope("invalid_request_error", message, code=code, param=param, **more)
    return RefusalError(400, body, executed=True)


def missing_resource(noun: str, identifier: str, param: str, *, named: bool = False) -> RefusalError:
    """Return the refusal for an id that is nobody's: 404 in the path, 400 where a parameter names it."""
    message = f"No such {noun}: '{identifier}'"
    error = invalid(message, code="resource_missing", param=param, status=400 if named else 404)
    error.executed = True
    return error


def not_simulated(param: str) -> RefusalError:
    """Return the refusal of what Stripe documents and this stand-in does not do, rather than ignore it."""
    return invalid(
        f"Stripe documents {param}, but this stand-in does not simulate it.",
        code="standin_not_simulated",
        param=param,
    )
