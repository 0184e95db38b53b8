"""Proofs that travel with an order: its receipts, and the signed heads of its tiers' logs.

A receipt is made anew from stored fields each time, and is the same each time. A head is signed once per process and
position, from the storefront's picture: a poll costs no query for it.
"""

import base64
import threading
from collections.abc import Collection, Mapping
from uuid import UUID

from cachetools import LRUCache

from domain.ports import ReceiptSigner
from domain.rules.fairness import Head, Place
from web.schemas.fairness import HeadBody, ReceiptBody, ReceiptKey, ReceiptKeys
from web.storefront import Storefront

HEADS_KEPT = 10_000


class Receipts:
    """The proofs that one process hands out."""

    def __init__(self, signer: ReceiptSigner, storefront: Storefront) -> None:
        self._signer, self._storefront = signer, storefront
        self._signed: LRUCache[UUID, tuple[Head, HeadBody]] = LRUCache(HEADS_KEPT)
        self._lock = threading.Lock()

    def receipt(self, place: Place, tier_id: UUID) -> ReceiptBody:
        """Return the receipt of an order's place in the line of a tier."""
        signature = self._signer.sign_receipt(place, tier_id)
        return ReceiptBody(
            tier_id=tier_id,
            order_id=place.order_id,
            sequence=place.sequence,
            quantity=place.quantity,
            received_at=place.received_at,
            salt=place.salt,
            kid=signature.kid,
            signature=base64url(signature.value),
        )

    def heads(self, tier_ids: Collection[UUID]) -> Mapping[UUID, HeadBody]:
        """Return where these tiers' logs end, as a picture of a moment ago says; unknown tiers are left out."""
        offers = self._storefront.look(tier_ids)
        return {tier_id: self.sign(tier_id, offer.fairness_head) for tier_id, offer in offers.items()}

    def sign(self, tier_id: UUID, head: Head) -> HeadBody:
        """Return a signed head."""
        with self._lock:
            kept = self._signed.get(tier_id)
        if kept is not None and kept[0] == head:
            return kept[1]
        signature = self._signer.sign_head(tier_id, head)
        body = HeadBody(
            tier_id=tier_id,
            position=head.position,
            hash=head.hash.hex(),
            kid=signature.kid,
            signature=base64url(signature.value),
        )
        with self._lock:
            self._signed[tier_id] = head, body
        return body

    def keys(self) -> ReceiptKeys:
        """Return the public keys by which all of this is checked."""
        return ReceiptKeys(
            keys=[ReceiptKey(kid=kid, x=base64url(key)) for kid, key in self._signer.public_keys().items()]
        )


def base64url(raw: bytes) -> str:
    """Return bytes in the alphabet of addresses, without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
