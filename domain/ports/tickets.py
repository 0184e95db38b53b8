"""The codes of tickets: what they claim, who signs it, and who draws it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TicketClaims:
    """What a signed ticket says: nothing personal."""

    event_id: UUID
    code: str
    version: int


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

    def sign(self, ticket: TicketClaims) -> str:
        """Return the text that goes into the QR code."""
        ...

    def verify(self, payload: str) -> TicketClaims:
        """Return what a payload claims; raise `BadSignatureError` if no key of ours made it."""
        ...

    def public_keys(self) -> Mapping[str, bytes]:
        """Return the raw public keys by `kid`."""
        ...
