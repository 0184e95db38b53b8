"""Payments by Stripe: the `PaymentGateway` port over the real SDK.

Calls, nothing more: values are translated in `stripe_values.py` and errors in `stripe_errors.py`, and retries belong
to the states of our own attempts, so the SDK makes none. Only parameters that Stripe documents are sent.
"""

import json
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from uuid import UUID

import stripe
from stripe import StripeClient, StripeError
from stripe.params import AccountLinkCreateParams, ChargeListParams, ChargeSearchParams, EventListParams

from adapters import stripe_values as values
from adapters.stripe_circuit import CircuitClient
from adapters.stripe_errors import UNKNOWN_OBJECT, translated, translating
from domain.errors import ForgedEventError, RetryableVendorError
from domain.ports import (
    UNEXPECTED_STATE,
    Account,
    AccountRequest,
    ChargeReading,
    Dispute,
    Intent,
    IntentRequest,
    OnboardingLink,
    ProviderEvent,
    Refund,
    RefundRequest,
)

SIGNATURE_TOLERANCE_SECONDS = 300
LARGEST_PAGE = 100
EVENT_TYPES = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "account.updated",
)
"""What we act on; Stripe takes at most twenty."""

_ENDED = frozenset({"succeeded", "canceled"})


class StripeGateway:
    """Talks to Stripe, or to the stand-in at `api_url`."""

    def __init__(
        self,
        *,
        secret_key: str,
        webhook_secrets: Sequence[str],
        api_url: str = "https://api.stripe.com",
        timeout_seconds: float = 10,
    ) -> None:
        self._webhook_secrets = tuple(webhook_secrets)
        self._client = StripeClient(
            secret_key,
            base_addresses={"api": api_url.rstrip("/")},
            http_client=CircuitClient(timeout=timeout_seconds),
            max_network_retries=0,
        )
        # Its debug lines hold whole bodies, with client secrets and addresses of buyers.
        logging.getLogger("stripe").setLevel(logging.WARNING)

    def open_intent(self, request: IntentRequest, idempotency_key: str) -> Intent:
        """Create a payment intent (docs.stripe.com/api/payment_intents/create).

        Raises `UnknownOutcomeError`, `RetryableVendorError` or `PermanentVendorError`.
        """
        with translating(writing=True):
            made = self._client.v1.payment_intents.create(
                values.intent_params(request), {"idempotency_key": idempotency_key}
            )
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
        with translating(writing=False):
            return values.intent(self._client.v1.payment_intents.retrieve(intent_id))

    def refund(self, request: RefundRequest, idempotency_key: str) -> Refund:
        """Give money back (docs.stripe.com/api/refunds/create).

        Raises `UnknownOutcomeError`, `RetryableVendorError`, or `PermanentVendorError` with Stripe's code, such as
        charge_already_refunded.
        """
        with translating(writing=True):
            made = self._client.v1.refunds.create(values.refund_params(request), {"idempotency_key": idempotency_key})
        return self.find_refund(made.id) if _replayed(made) else values.refund(made)

    def find_refund(self, refund_id: str) -> Refund:
        """Read a refund. Raises `RetryableVendorError`, or `PermanentVendorError` when there is none."""
        with translating(writing=False):
            return values.refund(self._client.v1.refunds.retrieve(refund_id, {"expand": [values.REFUNDED_FEE]}))

    def find_refund_by_reference(self, intent_id: str, reference: UUID) -> Refund | None:
        """Look among an intent's refunds for ours (docs.stripe.com/api/refunds/list).

        Raises `RetryableVendorError`, or `PermanentVendorError` when there is no such intent.
        """
        with translating(writing=False):
            for found in self._client.v1.refunds.list(
                {"payment_intent": intent_id, "limit": LARGEST_PAGE, "expand": [f"data.{values.REFUNDED_FEE}"]}
            ).auto_paging_iter():
                if (found.to_dict().get("metadata") or {}).get("refund_id") == str(reference):
                    return values.refund(found)
        return None

    def find_dispute(self, dispute_id: str) -> Dispute:
        """Read a dispute. Raises `RetryableVendorError`, or `PermanentVendorError` when there is none."""
        with translating(writing=False):
            return values.dispute(self._client.v1.disputes.retrieve(dispute_id))

    def list_charges(self, event_id: UUID) -> Iterator[ChargeReading]:
        """Yield the captured charges of an event that Stripe's search shows (docs.stripe.com/api/charges/search).

        It is eventually consistent (docs.stripe.com/search, "Data freshness"): what was charged, refunded or disputed
        in the last minute, in an outage in the last hour, may not be in it yet. The list has no such delay, but gives
        at most a hundred of a `transfer_group`. Raises `RetryableVendorError` or `PermanentVendorError`.
        """
        wanted: ChargeSearchParams = {
            "query": f"metadata['event_id']:'{event_id}' AND status:'succeeded'",
            "limit": LARGEST_PAGE,
            "expand": ["data.application_fee"],
        }
        with translating(writing=False):
            for found in self._client.v1.charges.search(wanted).auto_paging_iter():
                if _is_captured(found):
                    yield self._charge(found)

    def find_charge(self, intent_id: str) -> ChargeReading | None:
        """Read the captured charge of an intent (docs.stripe.com/api/charges/list), which is never behind.

        Raises `RetryableVendorError` or `PermanentVendorError`.
        """
        wanted: ChargeListParams = {
            "payment_intent": intent_id,
            "limit": LARGEST_PAGE,
            "expand": ["data.application_fee"],
        }
        with translating(writing=False):
            for found in self._client.v1.charges.list(wanted).auto_paging_iter():
                if _is_captured(found):
                    return self._charge(found)
        return None

    def open_account(self, request: AccountRequest, idempotency_key: str) -> Account:
        """Open a connected account (docs.stripe.com/api/accounts/create).

        Raises `UnknownOutcomeError`, `RetryableVendorError` or `PermanentVendorError`.
        """
        with translating(writing=True):
            made = self._client.v1.accounts.create(values.account_params(request), {"idempotency_key": idempotency_key})
        return self.find_account(made.id) if _replayed(made) else values.account(made)

    def find_account(self, account_id: str) -> Account:
        """Read a connected account.

        Raises `RetryableVendorError`, or `PermanentVendorError` when there is none or it has left us.
        """
        with translating(writing=False):
            return values.account(self._client.v1.accounts.retrieve(account_id))

    def link_account(self, account_id: str, *, return_url: str, refresh_url: str) -> OnboardingLink:
        """Make a link to onboarding (docs.stripe.com/api/account_links/create).

        Raises `RetryableVendorError`, or `PermanentVendorError` when there is no such account.
        """
        wanted: AccountLinkCreateParams = {
            "account": account_id,
            "type": "account_onboarding",
            "return_url": return_url,
            "refresh_url": refresh_url,
        }
        # A link that nobody saw harms nobody: there is no unknown outcome to look up.
        with translating(writing=False):
            return values.onboarding_link(self._client.v1.account_links.create(wanted))

    def list_events(self, after: str | None, since: datetime, limit: int) -> Sequence[ProviderEvent]:
        """Return our own account's events that we act on, oldest first (docs.stripe.com/api/events/list).

        Raises `RetryableVendorError` or `PermanentVendorError`.
        """
        with translating(writing=False):
            if after is not None:
                try:
                    found = self._events({"ending_before": after, "limit": min(limit, LARGEST_PAGE)})
                    return [values.event(event.to_dict()) for event in islice(found, limit)]
                except stripe.InvalidRequestError as error:
                    if error.code != UNKNOWN_OBJECT:
                        raise
            # Without a cursor Stripe begins at the newest: the oldest are those that come last.
            newest_first = self._events({"created": {"gte": int(since.timestamp())}, "limit": LARGEST_PAGE})
            return [values.event(event.to_dict()) for event in reversed(deque(newest_first, maxlen=limit))]

    def read_event(self, payload: bytes, signature: str) -> ProviderEvent:
        """Verify a webhook over its raw bytes (docs.stripe.com/webhooks/signature) and return it.

        Any of our secrets may have signed it: each endpoint has one, and two while it is rolled. Raises
        `ForgedEventError` if none has, if it is older than five minutes, or no event at all.
        """
        if not any(_is_signed(payload, signature, secret) for secret in self._webhook_secrets):
            raise ForgedEventError("The webhook's signature is wrong or stale.")
        try:
            body = json.loads(payload)
        except (ValueError, RecursionError):
            raise ForgedEventError("The webhook's body is no event.") from None
        if not isinstance(body, dict) or body.get("object") != "event":
            raise ForgedEventError("The webhook's body is no event.")
        return values.event(body)

    def _charge(self, found: stripe.Charge) -> ChargeReading:
        return values.charge(found, self._disputes(found) if found.disputed else ())

    def _disputes(self, charge: stripe.Charge) -> Iterator[stripe.Dispute]:
        return self._client.v1.disputes.list({"charge": charge.id, "limit": LARGEST_PAGE}).auto_paging_iter()

    def _events(self, filters: EventListParams) -> Iterator[stripe.Event]:
        return self._client.v1.events.list({**filters, "types": list(EVENT_TYPES)}).auto_paging_iter()

    def _current(self, intent: stripe.PaymentIntent) -> Intent:
        # A replayed answer shows the intent as it was then.
        return self.find_intent(intent.id) if _replayed(intent) else values.intent(intent)

    def _ended(self, intent_id: str, error: StripeError) -> Intent:
        if error.code != UNEXPECTED_STATE:
            raise translated(error, writing=True) from error
        intent = self.find_intent(intent_id)
        if intent.status in _ENDED:
            return intent
        message = f"The intent is {intent.status}; it does not take this now."
        raise RetryableVendorError(message, code=UNEXPECTED_STATE) from error


def _is_signed(payload: bytes, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(payload, signature, secret, SIGNATURE_TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, ValueError):
        return False
    return True


def _is_captured(charge: stripe.Charge) -> bool:
    return charge.captured and charge.status == "succeeded"


def _replayed(answer: stripe.PaymentIntent | stripe.Refund | stripe.Account) -> bool:
    response = answer.last_response
    return response is not None and response.headers.get("Idempotent-Replayed") == "true"
