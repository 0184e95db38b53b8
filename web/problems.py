"""Refusals as `application/problem+json` (RFC 9457): the one place where error codes meet HTTP.

`type` is a URN made from the code, stable over hosts and years; the codes are listed on the docs page.
"""

import random
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

import orjson
import structlog
from flask import Flask, Response, g, request
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from domain.errors import BusyError, DomainError, SoldOutError
from domain.rules.polling import spread
from web.addresses import API
from web.responses import WholeResponse

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The registered type of a 429 (draft-ietf-httpapi-ratelimit-headers, "Problem Types")."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems of one code share."""

    status: int
    title: str


PROBLEMS: Mapping[str, Kind] = {
    # What bad input gets.
    "malformed-json": Kind(400, "The body is not JSON"),
    "malformed-request": Kind(400, "The request cannot be understood"),
    "idempotency-key-missing": Kind(400, "An Idempotency-Key is needed"),
    "idempotency-key-malformed": Kind(400, "The Idempotency-Key is malformed"),
    "webhook-forged": Kind(400, "The signature is wrong or stale"),
    "not-found": Kind(404, "Not found"),
    "method-not-allowed": Kind(405, "This method is not for here"),
    "not-acceptable": Kind(406, "No such representation"),
    "body-too-large": Kind(413, "The body is too large"),
    "uri-too-long": Kind(414, "The address is too long"),
    "unsupported-media-type": Kind(415, "Send JSON"),
    "validation-failed": Kind(422, "Something in the request is not right"),
    "idempotency-key-reused": Kind(422, "The Idempotency-Key was used for another request"),
    "headers-too-large": Kind(431, "The headers are too large"),
    # Who are you, and may you?
    "unauthenticated": Kind(401, "Log in first"),
    "token-expired": Kind(401, "The token has expired"),
    "token-invalid": Kind(401, "The token is not valid"),
    "invalid-credentials": Kind(401, "E-mail address or password is wrong"),
    "forbidden": Kind(403, "Not for you"),
    # Not in this state.
    "refused": Kind(409, "Refused"),
    "conflict": Kind(409, "Not in this state"),
    "email-taken": Kind(409, "There is an account with this e-mail address"),
    "profile-exists": Kind(409, "There is a promoter profile already"),
    "last-admin": Kind(409, "The last administrator stays one"),
    "user-erased": Kind(409, "The person was erased"),
    "erasure-too-early": Kind(409, "Something is still under way"),
    "mail-not-replayable": Kind(409, "The mail is not sent again"),
    "link-spent": Kind(409, "The link has been used or has expired"),
    "sold-out": Kind(409, "Sold out"),
    "event-has-orders": Kind(409, "The event has orders"),
    "event-not-published": Kind(409, "The event is not published"),
    "event-not-publishable": Kind(409, "The event is not ready for the public"),
    "event-published": Kind(409, "The event is published"),
    "event-closed": Kind(409, "The event is over or cancelled"),
    "event-cancelled": Kind(409, "The event was cancelled"),
    "capacity-exceeded": Kind(409, "More tickets than the event has room for"),
    "capacity-below-tiers": Kind(409, "Less room than the tiers have tickets"),
    "quantity-below-sold": Kind(409, "Fewer tickets than are sold or reserved"),
    "too-many-tiers": Kind(409, "The event has as many tiers as it may"),
    "promoter-profile-required": Kind(409, "A promoter profile is needed first"),
    "promoter-unverified": Kind(409, "Paid tickets are sold by verified promoters only"),
    "payout-account-required": Kind(409, "A payout account is needed first"),
    "payout-account-refused": Kind(409, "Stripe refuses the payout account"),
    "sale-not-open": Kind(409, "Not on sale yet"),
    "sale-closed": Kind(409, "Not on sale any more"),
    "sale-draining": Kind(409, "No new orders for the time being"),
    "sale-not-over": Kind(409, "The sale is not over"),
    "limit-exceeded": Kind(409, "More or fewer than one may buy"),
    "not-cancellable": Kind(409, "The order cannot be cancelled"),
    "not-awaiting-approval": Kind(409, "The order does not await approval"),
    "illegal-move": Kind(409, "The order cannot go there from here"),
    "not-payable": Kind(409, "The order cannot be paid now"),
    "payment-not-ready": Kind(409, "The payment is being prepared"),
    "payment-in-progress": Kind(409, "A payment is being processed"),
    "hold-expired": Kind(409, "The time to pay has run out"),
    "nothing-to-refund": Kind(409, "Nothing is left to refund"),
    "refund-exceeds-payment": Kind(409, "More than was paid"),
    "ticket-not-refundable": Kind(409, "The ticket cannot be refunded"),
    "refund-not-allowed": Kind(409, "Refunded by the promoter only"),
    "refund-window-over": Kind(409, "Too late to refund"),
    "already-waiting": Kind(409, "You stand in this line already"),
    "not-sold-out": Kind(409, "Tickets are left"),
    "code-invalid": Kind(422, "There is no such code"),
    "code-not-valid-yet": Kind(409, "The code is not valid yet"),
    "code-expired": Kind(409, "The code has expired"),
    "code-not-applicable": Kind(409, "The code is for other tiers"),
    "code-exhausted": Kind(409, "The code has been used up"),
    "code-taken": Kind(409, "The event has this code already"),
    "code-limit-below-taken": Kind(409, "More was taken with the code than the limit allows"),
    "no-offer": Kind(409, "No offer stands"),
    "export-too-large": Kind(409, "More rows than such a file may have"),
    "offer-expired": Kind(409, "The offer has expired"),
    "check-in-not-undoable": Kind(409, "There is no check-in to undo"),
    "door-list-stale": Kind(409, "The cursor belongs to another list"),
    "email-unverified": Kind(409, "Prove your e-mail address first"),
    "ticket-not-transferable": Kind(409, "The ticket cannot be handed on"),
    "transfers-not-allowed": Kind(409, "Tickets of this event cannot be handed on"),
    "transfer-window-over": Kind(409, "Too late to hand a ticket on"),
    "transfer-pending": Kind(409, "The ticket is offered to somebody already"),
    "too-many-transfers": Kind(409, "The ticket was offered too often today"),
    "transfer-closed": Kind(409, "The transfer has ended"),
    "no-verified-account": Kind(409, "Nobody has an account with this verified address"),
    "already-in-team": Kind(409, "In the team already"),
    "too-many-webhooks": Kind(409, "As many endpoints as one may have"),
    "webhook-disabled": Kind(409, "The endpoint is disabled"),
    "announcement-cancelled": Kind(409, "The announcement was cancelled"),
    "announcement-sent": Kind(409, "The announcement has gone out"),
    # Not now.
    "rate-limited": Kind(429, "Too many requests"),
    "too-many-waiting": Kind(429, "Too many orders in line"),
    "internal-error": Kind(500, "Something went wrong on our side"),
    "busy": Kind(503, "Full for the moment"),
    "unavailable": Kind(503, "Not available at the moment"),
}
"""Status and title of every code that a client can meet."""

_CODES_BY_STATUS = {
    400: "malformed-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "body-too-large",
    414: "uri-too-long",
    415: "unsupported-media-type",
    429: "rate-limited",
    431: "headers-too-large",
    503: "unavailable",
}
"""The codes of what Flask and Werkzeug refuse by themselves."""

_RETRY_SECONDS = 2


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 the name is RFC 9457's
    """A refusal that is about HTTP itself; what the business refuses is a `DomainError`."""

    code: str
    detail: str
    pointer: str | None = None
    errors: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    type: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def install(app: Flask) -> None:
    """Make every error of this app a problem."""
    app.register_error_handler(Problem, render)
    app.register_error_handler(DomainError, render_refusal)
    app.register_error_handler(HTTPException, _render_http_error)
    app.register_error_handler(PoolTimeoutError, _render_full_pool)
    app.register_error_handler(OperationalError, _render_lost_database)
    app.register_error_handler(Exception, _render_defect)


def render(problem: Problem) -> Response:
    """Write a problem as an answer."""
    kind = PROBLEMS[problem.code]
    body: dict[str, Any] = {
        "type": problem.type or f"urn:ticket-vendor:problem:{problem.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": request.path,
        "code": problem.code,
        **problem.extra,
    }
    errors = list(problem.errors)
    if problem.pointer is not None:
        errors.append({"pointer": problem.pointer, "detail": problem.detail})
    if errors:
        body["errors"] = errors
    g.problem_code = problem.code
    return WholeResponse(orjson.dumps(body), status=kind.status, headers=problem.headers, content_type=MEDIA_TYPE)


def render_refusal(error: DomainError) -> Response:
    """Write what the business refused as an answer."""
    headers: dict[str, str] = {}
    extra: dict[str, Any] = {}
    if isinstance(error, BusyError):
        # Nothing is guarded by it: those who were refused together should not return together.
        headers["Retry-After"] = str(spread(error.retry_after, random.random()))  # noqa: S311
    if isinstance(error, SoldOutError):
        extra["links"] = {"waitlist": f"{API}/events/{error.event_id}/waitlist"}
    if PROBLEMS[error.code].status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return render(Problem(error.code, error.detail, pointer=error.pointer, headers=headers, extra=extra))


def refuse_invalid(error: ValidationError) -> NoReturn:
    """Raise the problem of a body, query or path that a schema refused; what was sent is not repeated."""
    errors = [
        {"pointer": _pointer(line["loc"]), "detail": _sentence(line["msg"])}
        for line in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    raise Problem("validation-failed", f"{errors[0]['pointer'] or 'The body'}: {errors[0]['detail']}", errors=errors)


def _pointer(location: tuple[str | int, ...]) -> str:
    """Return a JSON pointer (RFC 6901) into the body; an argument of the query is its name behind a slash."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _sentence(message: str) -> str:
    return f"{message.removeprefix('Value error, ').rstrip('.')}."


def _render_http_error(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error
    code = _CODES_BY_STATUS.get(error.code, "malformed-request" if error.code < 500 else "internal-error")  # noqa: PLR2004 the line between theirs and ours
    headers = dict(error.get_headers(request.environ))
    kept: dict[str, str] = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
    return render(Problem(code, _DETAILS.get(code, f"{error.description or error.name}"), headers=kept))


_KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate")
_DETAILS = {
    "not-found": "There is nothing at this address.",
    "method-not-allowed": "The Allow header names the methods of this address.",
    "body-too-large": "Send a smaller body.",
    "unsupported-media-type": "Send the body as application/json.",
}


def _render_full_pool(_error: PoolTimeoutError) -> Response:
    log.warning("database.pool_full")
    return render_refusal(BusyError("All places are taken at this moment.", retry_after=_RETRY_SECONDS))


def _render_lost_database(error: OperationalError) -> Response:
    log.error("database.unavailable", error=str(error.orig))
    return render(
        Problem(
            "unavailable",
            "The database does not answer. Nothing was changed, or what was accepted is kept: repeat the request.",
            headers={"Retry-After": str(spread(_RETRY_SECONDS, random.random()))},  # noqa: S311 as above
        )
    )


def _render_defect(error: Exception) -> Response:
    if isinstance(error, DBAPIError):
        # Messages of the database quote values, which may be personal: the place, the code and the constraint will do.
        log.error(
            "request.failed",
            path=request.path,
            error=type(error.orig).__name__,
            sqlstate=getattr(error.orig, "sqlstate", None),
            constraint=getattr(getattr(error.orig, "diag", None), "constraint_name", None),
            at=traceback.format_tb(error.__traceback__),
        )
    else:
        log.error("request.failed", path=request.path, exc_info=error)
    return render(Problem("internal-error", "It has been written down. Try again; nothing is charged twice."))
