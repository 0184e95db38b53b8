"""What the business needs from the outside world, as protocols.

Each port has one adapter in `adapters/` and one fake in `tests/fakes/`; values pass as
frozen dataclasses, so that no vendor type ever reaches the domain.
"""

from datetime import datetime
from typing import Protocol

from domain.ports.documents import (
    CalendarWriter,
    EventFacts,
    PassIssuer,
    PassLinker,
    TicketFacts,
    TicketPrinter,
)
from domain.ports.fairness import (
    ReceiptSigner,
    Signature,
)
from domain.ports.hooks import (
    HookPost,
    HookSender,
)
from domain.ports.mail import (
    Attachment,
    Letter,
    Mailer,
    Receipt,
)
from domain.ports.payments import (
    STORED_ERROR,
    UNEXPECTED_STATE,
    Account,
    AccountRequest,
    ChargeReading,
    Destination,
    Dispute,
    Intent,
    IntentRequest,
    OnboardingLink,
    PaymentGateway,
    ProviderEvent,
    Refund,
    RefundRequest,
)
from domain.ports.tickets import (
    QRRenderer,
    Signer,
    TicketClaims,
)

__all__ = [
    "STORED_ERROR",
    "UNEXPECTED_STATE",
    "Account",
    "AccountRequest",
    "Attachment",
    "CalendarWriter",
    "ChargeReading",
    "Clock",
    "Destination",
    "Dispute",
    "EventFacts",
    "HookPost",
    "HookSender",
    "Intent",
    "IntentRequest",
    "Letter",
    "Mailer",
    "OnboardingLink",
    "PassIssuer",
    "PassLinker",
    "PasswordHasher",
    "PaymentGateway",
    "ProviderEvent",
    "QRRenderer",
    "Receipt",
    "ReceiptSigner",
    "Refund",
    "RefundRequest",
    "Signature",
    "Signer",
    "TicketClaims",
    "TicketFacts",
    "TicketPrinter",
]


class Clock(Protocol):
    """The time of day, injected so that tests can move it."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...


class PasswordHasher(Protocol):
    """Slow hashes of passwords, computed in a bounded pool of their own."""

    def hash(self, password: str) -> str:
        """Return the hash to store; raise `BusyError` when the pool is full."""
        ...

    def verify(self, password: str, password_hash: str) -> bool:
        """Tell whether the password matches; raise `BusyError` when the pool is full."""
        ...
