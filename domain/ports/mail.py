"""Mail by a provider: the letter, the receipt, and the port itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from domain.ports.documents import EventFacts


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
    headers: Mapping[str, str] = field(default_factory=dict)
    event: EventFacts | None = None
    """What the mailer encloses as a calendar file."""


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
