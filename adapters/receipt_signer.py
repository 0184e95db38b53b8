"""The receipt keyring: Ed25519 signatures (RFC 8032) over receipts and heads of logs (port `ReceiptSigner`).

What exactly is signed is spelled by `domain/rules/fairness.py`. The keys are not those of tickets: whoever can make one
can still not make the other.
"""

from collections.abc import Mapping
from uuid import UUID

from adapters.ed25519_keys import read_keyring
from domain.ports import Signature
from domain.rules.fairness import Head, Place, head_text, receipt_text


class ReceiptSigner:
    """Signs with the first key; the others are shown, so that what they signed can still be checked."""

    def __init__(self, seeds: Mapping[str, str]) -> None:
        """Read the keyring: standard base64 of 32 random bytes by `kid`; raise `ValueError` if one is malformed."""
        keys = read_keyring(seeds, "receipt")
        self._kid, self._key = next(iter(keys.items()))
        self._public = {kid: key.public_key().public_bytes_raw() for kid, key in keys.items()}

    def sign_receipt(self, place: Place, tier_id: UUID) -> Signature:
        """Sign that this order has this place in the line of the tier; the same place gets the same signature."""
        return Signature(self._kid, self._key.sign(receipt_text(place, tier_id, self._kid)))

    def sign_head(self, tier_id: UUID, head: Head) -> Signature:
        """Sign that the tier's log has so many entries, and that they are those which the hash stands for."""
        return Signature(self._kid, self._key.sign(head_text(tier_id, head, self._kid)))

    def public_keys(self) -> Mapping[str, bytes]:
        """Return the raw public keys, 32 bytes each, by `kid`."""
        return self._public
