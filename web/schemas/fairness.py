"""Bodies of proofs: receipts, heads of logs, and the keys that signed them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from web.schemas.base import ResponseBody

_TIER_ID = "01936d2f-11aa-7e02-8a57-0c9d4b6e7f80"
RECEIPT: dict[str, Any] = {
    "tier_id": _TIER_ID,
    "order_id": "01936d30-52c4-7b3e-b1f9-6a8c2d4e5f01",
    "sequence": 4711,
    "quantity": 2,
    "received_at": "2027-06-12T17:00:00Z",
    "salt": "7c0f3c1e-6f0b-4a3d-9b1e-2f4a5c6d7e8f",
    "kid": "r1",
    "signature": "q2vN…",
}
HEAD: dict[str, Any] = {"tier_id": _TIER_ID, "position": 4023, "hash": "9f86…", "kid": "r1", "signature": "xL0a…"}
"""Examples, shortened where `…` stands."""

Base64 = Annotated[str, Field(description="Ed25519 (RFC 8032), base64url without padding.")]


class ReceiptBody(ResponseBody):
    """A signed promise: this order has this place in the line of this tier. It never changes.

    The signature covers the ASCII text `tv-receipt-1|<kid>|` and 68 bytes, numbers big-endian: salt, order id, tier id
    (16 each), sequence (8), quantity (4), `received_at` in whole microseconds since 1970 (8). SHA-256 of
    `tv-commitment-1|` and the same bytes is the `commitment` of the order's entries in the tier's public log: keep the
    receipt to find yourself there.
    """

    tier_id: UUID
    order_id: UUID
    sequence: int
    quantity: int
    received_at: Annotated[datetime, Field(description="When we began to write the order down.")]
    salt: Annotated[UUID, Field(description="Who knows it can tell which entries of the public log are yours.")]
    kid: str
    signature: Base64


class HeadBody(ResponseBody):
    """Where a tier's log of decisions ended a moment ago. Who keeps it can prove later that the log was rewritten.

    The signature covers the ASCII text `tv-head-1|<kid>|<tier_id>|<position>|<hash>`.
    """

    tier_id: UUID
    position: Annotated[int, Field(description="How many entries the log had.")]
    hash: Annotated[str, Field(description="Of the last of them, which stands for all (SHA-256, hexadecimal).")]
    kid: str
    signature: Base64


class ReceiptKey(ResponseBody):
    """A public key as a JSON Web Key (RFC 8037, section 2)."""

    kid: Annotated[str, Field(examples=["r1"])]
    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    use: Literal["sig"] = "sig"
    x: Annotated[str, Field(description="The 32 bytes of the key, base64url without padding.")]


class ReceiptKeys(ResponseBody):
    """All that is needed to check signatures of receipts and heads."""

    algorithm: Literal["Ed25519"] = "Ed25519"
    keys: Annotated[list[ReceiptKey], Field(description="The first one signs; the others are from before a rotation.")]
