"""Payments by a provider: what is asked of it, what it answers, and the port itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the money goes when a promoter has a connected account (Stripe Connect destination charge)."""

    account_id: str
    application_fee: int


@dataclass(frozen=True, slots=True)
class IntentRequest:
    """What to charge. `reference` is our attempt's id: it names the object, and never authorises anything.

    `event_id` travels in its metadata, from which each charge copies it: by it an event's charges are found again.
    """

    reference: UUID
    event_id: UUID
    order_id: UUID
    order_number: str
    amount: int
    currency: str
    description: str
    receipt_email: str | None = None
    destination: Destination | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment intent as the provider reports it now.

    `status` is Stripe's own: requires_payment_method, requires_confirmation, requires_action, processing,
    requires_capture, canceled, succeeded (docs.stripe.com/payments/paymentintents/lifecycle).
    """

    id: str
    status: str
    amount: int
    amount_received: int
    currency: str
    client_secret: str
    livemode: bool
    account_id: str | None
    charge_id: str | None = None
    next_action: Mapping[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """What to give back of one charge; Connect transfers and fees are reversed in proportion when asked."""

    reference: UUID
    intent_id: str
    amount: int
    reverse_transfer: bool = False
    refund_application_fee: bool = False


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as the provider reports it; `status` is pending, requires_action, succeeded, failed or canceled.

    `reverses_transfer` says that it was taken from the connected account; `returned_fee` is what of the charge's
    application fee was given back by then, with this refund and with all others.
    """

    id: str
    status: str
    amount: int
    currency: str
    intent_id: str | None
    failure_reason: str | None = None
    reverses_transfer: bool = False
    returned_fee: int = 0


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute as the provider reports it now; `status` is Stripe's own (docs.stripe.com/api/disputes/object).

    That is warning_needs_response, warning_under_review, warning_closed, needs_response, under_review, won, lost or
    prevented, and `reason` is Stripe's word, too. `withdrawn` is what it keeps from us at the moment, in its own
    currency, which is the charge's, whatever our balance is kept in, and without the provider's fee for it.
    """

    id: str
    status: str
    reason: str
    amount: int
    currency: str
    intent_id: str | None
    charge_id: str
    withdrawn: int
    evidence_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class AccountRequest:
    """A connected account to open (docs.stripe.com/connect/express-accounts). `reference` is our promoter's id."""

    reference: UUID
    email: str
    country: str | None
    business_name: str


@dataclass(frozen=True, slots=True)
class Account:
    """A connected account as the provider reports it now.

    It can take payments once its `transfers` capability is active (docs.stripe.com/connect/account-capabilities).
    """

    id: str
    details_submitted: bool
    can_take_payments: bool
    can_be_paid_out: bool
    disabled_reason: str | None


@dataclass(frozen=True, slots=True)
class OnboardingLink:
    """Where the owner of a connected account tells the provider what it needs to know: for one visit, soon."""

    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ChargeReading:
    """A captured charge as the provider's books have it now.

    `fee` is the application fee without what of it was given back; `withdrawn` is what disputes keep from us at the
    moment, in the charge's currency, too.
    """

    id: str
    intent_id: str | None
    amount: int
    currency: str
    refunded: int
    fee: int
    withdrawn: int


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """An event of the provider's that is surely its own: its identity, type and complete body.

    `account` is the connected account that it happened on, None for our own (docs.stripe.com/connect/webhooks).
    """

    id: str
    type: str
    payload: Mapping[str, Any]
    account: str | None = None


STORED_ERROR = "stored_error"
"""The code of an error that the provider keeps for its key: repeating the key repeats the error."""
UNEXPECTED_STATE = "payment_intent_unexpected_state"
"""The code of a request that the intent's state does not allow (docs.stripe.com/error-codes)."""


class PaymentGateway(Protocol):
    """Payments by a provider.

    Every call may raise `RetryableVendorError` (outcome unknown or refused for now: repeat with the same key) or
    `PermanentVendorError` (the provider understood and said no). A declined card is not an error: it is an
    intent in `requires_payment_method` with `error_code` set.
    """

    def open_intent(self, request: IntentRequest, idempotency_key: str) -> Intent:
        """Create a payment intent."""
        ...

    def confirm_intent(self, intent_id: str, payment_method: str, idempotency_key: str) -> Intent:
        """Confirm an intent with a payment method, and return it as it is afterwards, declined or not."""
        ...

    def cancel_intent(self, intent_id: str) -> Intent:
        """Cancel an intent as abandoned; one that has already ended is returned as it is.

        It needs no key: repeating it changes nothing, and one key could only repeat an earlier refusal.
        """
        ...

    def find_intent(self, intent_id: str) -> Intent:
        """Read an intent; this reading, not a webhook's body, is what the domain believes."""
        ...

    def refund(self, request: RefundRequest, idempotency_key: str) -> Refund:
        """Give money back."""
        ...

    def find_refund(self, refund_id: str) -> Refund:
        """Read a refund."""
        ...

    def find_refund_by_reference(self, intent_id: str, reference: UUID) -> Refund | None:
        """Look among an intent's refunds for the one that was asked for with this reference."""
        ...

    def find_dispute(self, dispute_id: str) -> Dispute:
        """Read a dispute."""
        ...

    def list_charges(self, event_id: UUID) -> Iterator[ChargeReading]:
        """Yield the captured charges of an event, page by page, as the provider's search has them.

        The search follows the books, by a minute as a rule and by an hour in an outage: until then a charge may be
        missing, or be read without its latest refund or dispute. `find_charge` reads what is so now.
        """
        ...

    def find_charge(self, intent_id: str) -> ChargeReading | None:
        """Read the captured charge of an intent, as the books have it now; None where nothing was captured."""
        ...

    def open_account(self, request: AccountRequest, idempotency_key: str) -> Account:
        """Open a connected account that knows no more of its owner than we say."""
        ...

    def find_account(self, account_id: str) -> Account:
        """Read a connected account."""
        ...

    def link_account(self, account_id: str, *, return_url: str, refresh_url: str) -> OnboardingLink:
        """Make a link by which the owner completes an account; it needs no key, since one too many harms nobody.

        The owner comes back to `return_url`, done or not, or to `refresh_url` when the link no longer holds.
        """
        ...

    def list_events(self, after: str | None, since: datetime, limit: int) -> Sequence[ProviderEvent]:
        """Return what happened on our own account, oldest first, at most `limit`: after the event of this id.

        Where that is None or no longer known (Stripe keeps 30 days): since a time (docs.stripe.com/api/events/list).
        """
        ...

    def read_event(self, payload: bytes, signature: str) -> ProviderEvent:
        """Verify a webhook over its raw bytes and return it; raise `ForgedEventError` if it is forged or stale."""
        ...
