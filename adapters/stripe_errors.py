"""Stripe's errors as the domain knows them: what never happened, what may have, and what will never be."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import stripe
from stripe import StripeError
from urllib3.exceptions import MaxRetryError, NewConnectionError

from domain.errors import PermanentVendorError, RetryableVendorError, UnknownOutcomeError, VendorError
from domain.ports import STORED_ERROR

log = logging.getLogger(__name__)

UNKNOWN_OBJECT = "resource_missing"
_REFUSED, _CONFLICT, _SERVER_ERROR = 400, 409, 500
_PASSING_CODES = frozenset({"lock_timeout", "rate_limit", "idempotency_key_in_use"})
_UNKNOWN_ACCOUNT = "account_invalid"


@contextmanager
def translating(*, writing: bool) -> Iterator[None]:
    """Raise Stripe's errors as the domain's; only one of a call that writes leaves the outcome unknown."""
    try:
        yield
    except StripeError as error:
        raise translated(error, writing=writing) from error


def translated(error: StripeError, *, writing: bool) -> VendorError:
    """Return the domain's error for one of Stripe's (docs.stripe.com/api/errors, docs.stripe.com/error-low-level)."""
    message = error.user_message or type(error).__name__
    code = error.code or _code(error)
    status = error.http_status or 0
    uncertain = UnknownOutcomeError if writing else RetryableVendorError
    if isinstance(error, stripe.APIConnectionError):
        never_sent = _never_sent(error.__cause__)
        return (RetryableVendorError if never_sent else uncertain)("Stripe did not answer.", code="connection")
    if isinstance(error, stripe.RateLimitError) or status == _CONFLICT or code in _PASSING_CODES:
        return RetryableVendorError(message, code=code or "rate_limit", retry_after=_retry_after(error))
    if status >= _SERVER_ERROR or status < _REFUSED:
        stored = (error.headers or {}).get("Idempotent-Replayed") == "true"
        return uncertain(message, code=STORED_ERROR if stored else code, retry_after=_retry_after(error))
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError) and code != _UNKNOWN_ACCOUNT:
        # Our key is wrong, not what we asked for: no order may end because of it.
        log.error("stripe.key_refused status=%s code=%s", status, code)
        return RetryableVendorError(message, code=code or _kind(error))
    return PermanentVendorError(message, code=code or _kind(error))


def _never_sent(cause: BaseException | None) -> bool:
    """Tell whether a connection could not even be made, so that Stripe cannot have done anything."""
    if isinstance(cause, requests.ConnectTimeout):
        return True
    reason = cause.args[0] if isinstance(cause, requests.ConnectionError) and cause.args else None
    return isinstance(reason, MaxRetryError) and isinstance(reason.reason, NewConnectionError)


def _retry_after(error: StripeError) -> float | None:
    given = (error.headers or {}).get("Retry-After", "")
    return float(given) if given.isdecimal() else None


def _code(error: StripeError) -> str | None:
    # A refund that our balance does not cover was seen to be refused with a `message_code` only.
    body = error.json_body.get("error") if isinstance(error.json_body, dict) else None
    return (body.get("code") or body.get("message_code")) if isinstance(body, dict) else None


def _kind(error: StripeError) -> str | None:
    return str(error.error.type) if error.error and error.error.type else None
