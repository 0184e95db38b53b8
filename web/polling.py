"""How an order is polled: its ETag, when to come again, and the wish to wait (`Prefer: wait=N`, RFC 7240)."""

import random
import re

import orjson
from flask import Response, request
from werkzeug.http import quote_etag

from domain.line import Pulse
from domain.rules.lifecycle import ENDED
from domain.rules.polling import retry_after
from web.responses import nothing
from web.services import services

FAIRNESS_HEAD = "Fairness-Head"
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?=$|[,;\s])", re.IGNORECASE)


def asked_to_wait() -> float:
    """Return for how many seconds the client would like to wait, within what we allow; 0 if it would not."""
    preference = _WAIT.search(request.headers.get("Prefer", ""))
    most = services().settings.long_poll_limit_seconds
    return min(int(preference[1]), most) if preference else 0


def is_unchanged(pulse: Pulse) -> bool:
    """Tell whether the client has seen this state already (RFC 9110 section 13.1.2)."""
    return request.if_none_match.contains_weak(pulse.tag)


def add_polling_headers(response: Response, pulse: Pulse) -> Response:
    """Add the ETag and, while the order still moves, when to come again."""
    response.headers["ETag"] = quote_etag(pulse.tag, weak=True)
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Vary"] = "Authorization"
    place = pulse.place
    seconds = retry_after(
        pulse.stage,
        place.eta_seconds if place else None,
        is_paused=place is not None and place.is_paused,
        chance=random.random(),  # noqa: S311 spreads clients, protects nothing
        ahead=place.ahead if place else 0,
    )
    if seconds is not None:
        response.headers["Retry-After"] = str(seconds)
    return response


def answer_unchanged(pulse: Pulse) -> Response:
    """Return a 304, with the heads of the logs that go on while the order stands still."""
    response = add_polling_headers(nothing(304), pulse)
    heads = services().receipts.heads(pulse.tier_ids).values()
    response.headers[FAIRNESS_HEAD] = orjson.dumps([head.model_dump() for head in heads]).decode()
    return response


def still_moves(pulse: Pulse) -> bool:
    """Tell whether waiting could show anything new."""
    return pulse.stage not in ENDED
