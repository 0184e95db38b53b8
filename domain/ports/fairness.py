"""Who signs receipts and the heads of the fairness logs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from domain.rules.fairness import Head, Place


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature, and the name of the key that made it."""

    kid: str
    value: bytes


class ReceiptSigner(Protocol):
    """The receipt keyring: signatures that anybody can check with the public keys."""

    def sign_receipt(self, place: Place, tier_id: UUID) -> Signature:
        """Sign that this order has this place in the line of the tier; the same place gets the same signature."""
        ...

    def sign_head(self, tier_id: UUID, head: Head) -> Signature:
        """Sign that the tier's log has so many entries, and that they are those which the hash stands for."""
        ...

    def public_keys(self) -> Mapping[str, bytes]:
        """Return the raw public keys by `kid`."""
        ...
