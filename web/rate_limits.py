"""How often one may ask: Flask-Limiter in Redis, and in this process's memory while Redis is away.

Each request counts once, in the bucket of its policy: by user, or by network for strangers. 429 answers and the
`RateLimit` fields follow draft-ietf-httpapi-ratelimit-headers.
"""

import hashlib
import ipaddress
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import redis
import structlog
from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter, RateLimitExceeded
from limits import RateLimitItem, WindowStats, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, RateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.errors import DomainError
from settings import Settings
from web.problems import QUOTA_EXCEEDED, Problem, render
from web.services import services

log = structlog.get_logger()

EXTENSION = "ticket_vendor_limiter"
UNLIMITED = "unlimited"
REDIS_TIMEOUT_SECONDS = 0.03
"""A dead Redis costs a request at most this; Flask-Limiter then stays local and looks again after 1, 2, 4 … 32 s."""
FAILED_LOG_INS = ("5/5 minutes", "50/hour")
"""Wrong passwords for one address: from one network, and from anywhere (NIST SP 800-63B section 3.2.2)."""
WRONG_CODES = ("10/5 minutes", "500/hour")
"""Codes that an event has not: of one user, and from one network, behind which there may be many honest ones."""
PAYOUT_ACCOUNTS = "5/minute"
"""Links to Stripe's onboarding: each keeps a thread waiting for Stripe, and a person needs one at a time."""
WEBHOOK_TESTS = "30/minute"
"""Test messages and repetitions, which go to an address of the asker's choosing."""
View = TypeVar("View", bound=Callable[..., Any])
Answer = TypeVar("Answer")


def limited(policy: str) -> Callable[[View], View]:
    """Mark a view as counted in a bucket of its own: `orders` or `webhook-tests`, say."""

    def mark(view: View) -> View:
        view.rate_limit = policy  # type: ignore[attr-defined]
        return view

    return mark


def unlimited(view: View) -> View:
    """Mark a view that is never refused: health, metrics, webhooks."""
    return limited(UNLIMITED)(view)


def install(app: Flask, settings: Settings) -> None:
    """Count every request of this app from here on; what was installed before runs before."""
    redis_options: dict[str, Any] = {
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    limiter = Limiter(
        _bucket,
        application_limits=[_limit],
        storage_uri=settings.redis_url,
        storage_options=redis_options,
        strategy="fixed-window",
        in_memory_fallback_enabled=True,
        enabled=settings.rate_limits == "on",
    )
    limiter.request_filter(lambda: _policy() == UNLIMITED)
    limiter.init_app(app)
    app.extensions[EXTENSION] = limiter
    app.register_error_handler(RateLimitExceeded, _refuse)
    app.after_request(_announce)


def check_failed_log_ins(email: str) -> None:
    """Refuse to check another password for an address, existing or not, after too many wrong ones."""
    detail = "Too many wrong passwords for this address. Wait, or choose a new password by mail."
    _check_failures(_failed_log_ins(email), "log-ins", detail)


def count_failed_log_in(email: str) -> None:
    """Count a wrong password."""
    _count_failure(_failed_log_ins(email))


@contextmanager
def guessing_limited(code: str | None) -> Iterator[None]:
    """Count it if a code that was sent turns out wrong within, and look at none after too many of them."""
    failures = _wrong_codes() if code is not None else []
    _check_failures(failures, "codes", "Too many wrong codes. Wait before you try another one.")
    try:
        yield
    except DomainError as refusal:
        if refusal.code == "code-invalid":
            _count_failure(failures)
        raise


Failures = Sequence[tuple[RateLimitItem, str]]
"""What is counted of them, and under which keys."""


def _check_failures(failures: Failures, policy: str, detail: str) -> None:
    for item, key in failures:
        if not _ask(partial(_test, item, key)):
            window = _ask(partial(_look, item, key))
            raise Problem(
                "rate-limited",
                detail,
                headers={"Retry-After": str(_seconds_until(window.reset_time))},
                type=QUOTA_EXCEEDED,
                extra={"violated-policies": [policy]},
            )


def _count_failure(failures: Failures) -> None:
    for item, key in failures:
        _ask(partial(_hit, item, key))


def _wrong_codes() -> Failures:
    if not _limiter().enabled:
        return []
    identity = g.get("identity")
    one, network = (parse(text) for text in WRONG_CODES)
    # Accounts are cheap: a network's count holds for all of them.
    found = [(network, f"codes:{_network()}")]
    return [(one, f"codes:{identity.user_id}"), *found] if identity else found


def _failed_log_ins(email: str) -> Failures:
    if not _limiter().enabled:
        return []
    # Nobody's address lies about in Redis.
    account = hashlib.sha256(email.lower().encode()).hexdigest()
    near, anywhere = (parse(text) for text in FAILED_LOG_INS)
    return [(near, f"log-ins:{account}:{_network()}"), (anywhere, f"log-ins:{account}")]


_local = FixedWindowRateLimiter(MemoryStorage())


def _ask(question: Callable[[RateLimiter], Answer]) -> Answer:
    """Ask the shared limiter, or this process's own while Redis is away."""
    try:
        return question(_limiter().limiter)
    except redis.RedisError as error:
        log.warning("rate_limits.local", error=str(error))
        return question(_local)


def _test(item: RateLimitItem, key: str, limiter: RateLimiter) -> bool:
    return limiter.test(item, key)


def _hit(item: RateLimitItem, key: str, limiter: RateLimiter) -> bool:
    return limiter.hit(item, key)


def _look(item: RateLimitItem, key: str, limiter: RateLimiter) -> WindowStats:
    return limiter.get_window_stats(item, key)


def _limiter() -> Limiter:
    limiter: Limiter = current_app.extensions[EXTENSION]
    return limiter


def _policy() -> str:
    """Return the name of the bucket that this request counts in."""
    view = current_app.view_functions.get(request.endpoint or "")
    policy: str | None = getattr(view, "rate_limit", None)
    return policy or ("user" if g.get("identity") else "anonymous")


def _limit() -> str:
    settings = services().settings
    limits = {
        "accounts": settings.rate_limit_accounts,
        "orders": settings.rate_limit_orders,
        "payout-accounts": PAYOUT_ACCOUNTS,
        "webhook-tests": WEBHOOK_TESTS,
        "user": settings.rate_limit_user,
        "anonymous": settings.rate_limit_anonymous,
    }
    return limits[_policy()]


def _bucket() -> str:
    policy = _policy()
    identity = g.get("identity")
    # A stolen or shared token must not buy more tries at passwords.
    who = f"user:{identity.user_id}" if identity and policy != "accounts" else f"network:{_network()}"
    return f"{policy}:{who}"


def _network() -> str:
    """Return the client's IPv4 address, or the /64 of its IPv6 address, which belongs to one subscriber."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _refuse(_error: RateLimitExceeded) -> Response:
    breached = [limit for limit in _limiter().current_limits if limit.breached]
    seconds = max((_seconds_until(limit.reset_at) for limit in breached), default=1)
    return render(
        Problem(
            "rate-limited",
            "You ask more often than is allowed. Come again after the seconds in Retry-After.",
            # Jitter, so that clients that were refused together do not return together.
            headers={"Retry-After": str(seconds + random.randrange(3))},  # noqa: S311 nothing is guarded by it
            type=QUOTA_EXCEEDED,
            extra={"violated-policies": [_policy()]},
        )
    )


def _announce(response: Response) -> Response:
    limits = _limiter().current_limits
    if not limits:
        return response
    name = _policy()
    try:
        states = [(limit.limit, limit.remaining, _seconds_until(limit.reset_at)) for limit in limits]
    except redis.RedisError:
        return response
    policies = [f'"{name}";q={item.amount};w={item.get_expiry()}' for item, *_ in states]
    response.headers["RateLimit-Policy"] = ", ".join(policies)
    response.headers["RateLimit"] = ", ".join(f'"{name}";r={max(left, 0)};t={seconds}' for _, left, seconds in states)
    return response


def _seconds_until(moment: float) -> int:
    return max(1, math.ceil(moment - time.time()))
