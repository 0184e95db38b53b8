"""The request id: taken from `X-Request-ID` or made, put on every log line, answered, and carried by messages.

The access log is here too, because it is the line on which the id meets the outcome. It names paths, never queries:
links from mails carry their secret there.
"""

import re
import time

import structlog
from flask import Flask, Response, g, request
from uuid_utils.compat import uuid7

from adapters.logs import bind_request_id, forget_context

log = structlog.get_logger()

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


def install(app: Flask) -> None:
    """Give every request of this app an id, and every answer a line in the log."""
    app.before_request(_begin)
    app.after_request(_end)


def request_id() -> str:
    """Return the id of this request."""
    return str(g.request_id)


def _begin() -> None:
    g.started = time.perf_counter()
    given = request.headers.get(HEADER, "")
    g.request_id = given if _SANE.fullmatch(given) else str(uuid7())
    forget_context()
    bind_request_id(g.request_id)


def _end(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    if request.path not in _QUIET:
        identity = g.get("identity")
        log.info(
            "request.done",
            method=request.method,
            path=request.path,
            status=response.status_code,
            milliseconds=round((time.perf_counter() - g.started) * 1000, 1),
            user_id=str(identity.user_id) if identity else None,
            code=g.get("problem_code"),
        )
    return response
