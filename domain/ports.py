"""What the business needs from the outside world, as protocols.

Each port has one adapter in `adapters/` and one fake in `tests/fakes/`; values pass as
frozen dataclasses, so that no vendor type ever reaches the domain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


class Clock(Protocol):
    """The time of day, injected so that tests can move it."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the money goes when a promoter has a connected account (Stripe Connect destination charge)."""

    account_id: str
    application_fee: int


@dataclass(frozen=True, slots=True)
class IntentRequest:
    """What to charge. `reference` is our attempt's id: it names the object, and never authorises anything."""

    reference: UUID
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
    """A refund as the provider reports it; `status` is pending, requires_action, succeeded, failed or canceled."""

    id: str
    status: str
    amount: int
    currency: str
    intent_id: str | None
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """A webhook event whose signature has been checked: its identity, type and complete body."""

    id: str
    type: str
    payload: Mapping[str, Any]


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

    def read_event(self, payload: bytes, signature: str) -> ProviderEvent:
        """Verify a webhook over its raw bytes and return it; raise `ForgedEventError` if it is forged or stale."""
        ...


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a mail; with a `content_id` it is shown inline."""

    filename: str
    media_type: str
    content: bytes
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail to send: a template's name and the plain values that it needs."""

    reference: UUID
    template: str
    recipient: str
    recipient_name: str
    context: Mapping[str, Any]
    attachments: Sequence[Attachment] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the provider answered to an accepted mail."""

    message_id: str
    subject: str


class Mailer(Protocol):
    """Mail by a provider that has no idempotency key: an unknown outcome must not be repeated blindly."""

    def send(self, letter: Letter) -> Receipt:
        """Send a letter.

        Raises `RetryableVendorError` when it surely was not accepted, `UnknownOutcomeError` when it may have been
        (a time-out after sending), `PermanentVendorError` when it never will be.
        """
        ...


class QRRenderer(Protocol):
    """Pictures of ticket codes."""

    def png(self, text: str) -> bytes:
        """Render as PNG."""
        ...

    def svg(self, text: str) -> bytes:
        """Render as SVG."""
        ...


class Signer(Protocol):
    """The ticket keyring: signs compact payloads, checkable offline with the public keys."""

    def sign(self, ticket: "TicketClaims") -> str:
        """Return the text that goes into the QR code."""
        ...

    def verify(self, payload: str) -> "TicketClaims":
        """Return what a payload claims; raise `BadSignatureError` if no key of ours made it."""
        ...

    def public_keys(self) -> Mapping[str, bytes]:
        """Return the raw public keys by `kid`."""
        ...


@dataclass(frozen=True, slots=True)
class TicketClaims:
    """What a signed ticket says: nothing personal."""

    event_id: UUID
    code: str
    version: int


class PasswordHasher(Protocol):
    """Slow hashes of passwords, computed in a bounded pool of their own."""

    def hash(self, password: str) -> str:
        """Return the hash to store; raise `BusyError` when the pool is full."""
        ...

    def verify(self, password: str, password_hash: str) -> bool:
        """Tell whether the password matches; raise `BusyError` when the pool is full."""
        ...
