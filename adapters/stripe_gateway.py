"""Payments by Stripe: the `PaymentGateway` port over the real SDK.

Translates values and errors, nothing more: retries belong to the states of our own attempts, so the SDK makes
none. Only parameters that Stripe documents are sent.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import requests
import stripe
from stripe import StripeClient, StripeError
from stripe.params import PaymentIntentCreateParams, RefundCreateParams
from urllib3.exceptions import MaxRetryError, NewConnectionError

from domain.errors import ForgedEventError, PermanentVendorError, RetryableVendorError, UnknownOutcomeError, VendorError
from domain.ports import (
    STORED_ERROR,
    UNEXPECTED_STATE,
    Intent,
    IntentRequest,
    ProviderEvent,
    Refund,
    RefundRequest,
)

log = logging.getLogger(__name__)

SIGNATURE_TOLERANCE_SECONDS = 300

_ENDED = frozenset({"succeeded", "canceled"})
_REFUSED, _CONFLICT, _SERVER_ERROR = 400, 409, 500
_PASSING_CODES = frozenset({"lock_timeout", "rate_limit", "idempotency_key_in_use"})


class StripeGateway:
    """Talks to Stripe, or to the stand-in at `api_url`."""

    def __init__(
        self,
        *,
        secret_key: str,
        webhook_secret: str,
        api_url: str = "https://api.stripe.com",
        timeout_seconds: float = 10,
    ) -> None:
        self._webhook_secret = webhook_secret
        self._client = StripeClient(
            secret_key,
            base_addresses={"api": api_url.rstrip("/")},
            http_client=stripe.RequestsClient(timeout=timeout_seconds),
            max_network_retries=0,
        )
        # Its debug lines hold whole bodies, with client secrets and addresses of buyers.
        logging.getLogger("stripe").setLevel(logging.WARNING)

    def open_intent(self, request: IntentRequest, idempotency_key: str) -> Intent:
        """Create a payment intent (docs.stripe.com/api/payment_intents/create).

        Raises `UnknownOutcomeError`, `RetryableVendorError` or `PermanentVendorError`.
        """
        with _translating(writing=True):
            made = self._client.v1.payment_intents.create(_intent_params(request), {"idempotency_key": idempotency_key})
        return self._current(made)

    def confirm_intent(self, intent_id: str, payment_method: str, idempotency_key: str) -> Intent:
        """Confirm an intent with a payment method (docs.stripe.com/api/payment_intents/confirm).

        A declined card, and an intent that had already been paid or cancelled, are answers: the intent is read
        again and returned. Raises `UnknownOutcomeError`, `RetryableVendorError` or `PermanentVendorError`.
        """
        try:
            confirmed = self._client.v1.payment_intents.confirm(
                intent_id,
                # `use_stripe_sdk`: whatever the card's owner must still do, Stripe.js does with the client secret.
                {"payment_method": payment_method, "use_stripe_sdk": True},
                {"idempotency_key": idempotency_key},
            )
        except stripe.CardError:
            return self.find_intent(intent_id)
        except StripeError as error:
            return self._ended(intent_id, error)
        return self._current(confirmed)

    def cancel_intent(self, intent_id: str) -> Intent:
        """Cancel an intent as abandoned (docs.stripe.com/api/payment_intents/cancel).

        One that has ended is returned as it is; one that cannot be cancelled just now, because the money is on its
        way, raises `RetryableVendorError`. Raises `UnknownOutcomeError` and `PermanentVendorError`, too.
        """
        try:
            cancelled = self._client.v1.payment_intents.cancel(intent_id, {"cancellation_reason": "abandoned"})
        except StripeError as error:
            return self._ended(intent_id, error)
        return self._current(cancelled)

    def find_intent(self, intent_id: str) -> Intent:
        """Read an intent. Raises `RetryableVendorError`, or `PermanentVendorError` when there is none."""
        with _translating(writing=False):
            return _intent(self._client.v1.payment_intents.retrieve(intent_id))

    def refund(self, request: RefundRequest, idempotency_key: str) -> Refund:
        """Give money back (docs.stripe.com/api/refunds/create).

        Raises `UnknownOutcomeError`, `RetryableVendorError`, or `PermanentVendorError` with Stripe's code, such as
        charge_already_refunded.
        """
        with _translating(writing=True):
            made = self._client.v1.refunds.create(_refund_params(request), {"idempotency_key": idempotency_key})
        return self.find_refund(made.id) if _replayed(made) else _refund(made)

    def find_refund(self, refund_id: str) -> Refund:
        """Read a refund. Raises `RetryableVendorError`, or `PermanentVendorError` when there is none."""
        with _translating(writing=False):
            return _refund(self._client.v1.refunds.retrieve(refund_id))

    def find_refund_by_reference(self, intent_id: str, reference: UUID) -> Refund | None:
        """Look among an intent's refunds for ours (docs.stripe.com/api/refunds/list).

        Raises `RetryableVendorError`, or `PermanentVendorError` when there is no such intent.
        """
        with _translating(writing=False):
            for found in self._client.v1.refunds.list({"payment_intent": intent_id, "limit": 100}).auto_paging_iter():
                if (found.to_dict().get("metadata") or {}).get("refund_id") == str(reference):
                    return _refund(found)
        return None

    def read_event(self, payload: bytes, signature: str) -> ProviderEvent:
        """Verify a webhook over its raw bytes (docs.stripe.com/webhooks/signature) and return it.

        Raises `ForgedEventError` if it is not Stripe's, older than five minutes, or no event at all.
        """
        try:
            stripe.WebhookSignature.verify_header(payload, signature, self._webhook_secret, SIGNATURE_TOLERANCE_SECONDS)
            body = json.loads(payload)
        except (stripe.SignatureVerificationError, ValueError, RecursionError):
            raise ForgedEventError("The webhook's signature is wrong or stale.") from None
        if not isinstance(body, dict) or body.get("object") != "event":
            raise ForgedEventError("The webhook's body is no event.")
        return ProviderEvent(id=str(body["id"]), type=str(body["type"]), payload=body)

    def _current(self, intent: stripe.PaymentIntent) -> Intent:
        # A replayed answer shows the intent as it was then.
        return self.find_intent(intent.id) if _replayed(intent) else _intent(intent)

    def _ended(self, intent_id: str, error: StripeError) -> Intent:
        if error.code != UNEXPECTED_STATE:
            raise _translated(error, writing=True) from error
        intent = self.find_intent(intent_id)
        if intent.status in _ENDED:
            return intent
        message = f"The intent is {intent.status}; it does not take this now."
        raise RetryableVendorError(message, code=UNEXPECTED_STATE) from error


def _intent_params(request: IntentRequest) -> PaymentIntentCreateParams:
    params: PaymentIntentCreateParams = {
        "amount": request.amount,
        "currency": request.currency.lower(),
        "description": request.description,
        "metadata": {
            "order_id": str(request.order_id),
            "order_number": request.order_number,
            "attempt_id": str(request.reference),
        },
        # Without redirects a worker can confirm with no return_url, which Stripe demands otherwise; cards, wallets
        # and 3-D Secure in Stripe.js need none.
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
    }
    if request.receipt_email:
        params["receipt_email"] = request.receipt_email
    if request.destination:
        # A destination charge. No `on_behalf_of`: the platform sells, so it is the merchant on the buyer's statement,
        # and promoters need no card_payments capability (docs.stripe.com/connect/destination-charges).
        params["transfer_data"] = {"destination": request.destination.account_id}
        params["application_fee_amount"] = request.destination.application_fee
    return params


def _refund_params(request: RefundRequest) -> RefundCreateParams:
    params: RefundCreateParams = {
        "payment_intent": request.intent_id,
        "amount": request.amount,
        "metadata": {"refund_id": str(request.reference)},
    }
    # Stripe refuses both flags, even when false, on charges that have nothing to reverse.
    if request.reverse_transfer:
        params["reverse_transfer"] = True
    if request.refund_application_fee:
        params["refund_application_fee"] = True
    return params


def _intent(found: stripe.PaymentIntent) -> Intent:
    body = found.to_dict()
    failure = body.get("last_payment_error") or {}
    transfer = body.get("transfer_data") or {}
    return Intent(
        id=found.id,
        status=found.status,
        amount=found.amount,
        amount_received=found.amount_received,
        currency=found.currency.upper(),
        client_secret=found.client_secret or "",
        livemode=found.livemode,
        account_id=_id(transfer.get("destination")),
        charge_id=_id(body.get("latest_charge")),
        next_action=body.get("next_action"),
        error_code=failure.get("decline_code") or failure.get("code"),
        error_message=failure.get("message"),
        metadata=body.get("metadata") or {},
    )


def _refund(found: stripe.Refund) -> Refund:
    return Refund(
        id=found.id,
        status=found.status or "pending",
        amount=found.amount,
        currency=found.currency.upper(),
        intent_id=_id(found.payment_intent),
        failure_reason=found.to_dict().get("failure_reason"),
    )


def _id(value: Any) -> str | None:
    # A field that can be expanded holds an id or the object itself.
    return value if isinstance(value, str) or value is None else str(value["id"])


def _replayed(answer: stripe.PaymentIntent | stripe.Refund) -> bool:
    response = answer.last_response
    return response is not None and response.headers.get("Idempotent-Replayed") == "true"


@contextmanager
def _translating(*, writing: bool) -> Iterator[None]:
    try:
        yield
    except StripeError as error:
        raise _translated(error, writing=writing) from error


def _translated(error: StripeError, *, writing: bool) -> VendorError:
    """Sort Stripe's errors (docs.stripe.com/api/errors, docs.stripe.com/error-low-level)."""
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
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
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
