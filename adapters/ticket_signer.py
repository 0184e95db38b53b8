"""The ticket keyring: Ed25519 signatures over what a ticket's QR code says (port `Signer`).

The text is documented here byte for byte, so that anyone can check a ticket offline with nothing but the
public keys. Which ticket is still valid (its version, a transfer, an earlier scan) is the domain's question,
not ours.

    TV1.<kid>.<body>

`TV1`   names this format. `<kid>` names the key: 1 to 16 characters of A-Z a-z 0-9 `-` `_`.
`<body>` is base64url without padding (RFC 4648 section 5) of these bytes:

    offset   length   content
    0        16       event id, the UUID's bytes in network order (RFC 9562)
    16       2        version of the ticket's code, unsigned, big-endian: a transfer raises it by one
    18       n        the ticket's code, ASCII, 1 to 64 bytes; n = length of the whole - 82
    18 + n   64       Ed25519 signature (RFC 8032)

The signature covers the ASCII bytes `TV1.<kid>.` followed by the first 18 + n bytes. A checker decodes,
refuses any text that does not encode back to itself, picks the 32-byte public key by `<kid>`, and verifies.
The only spelling of a ticket is the one that we print.
"""

import base64
import binascii
from collections.abc import Mapping
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from adapters.ed25519_keys import read_keyring
from domain.errors import BadSignatureError
from domain.ports import TicketClaims

FORMAT = "TV1"
SIGNATURE_BYTES = 64
CODE_OFFSET = 18
CODE_LIMIT = 64
VERSION_LIMIT = 0xFFFF
TEXT_LIMIT = 256


class TicketSigner:
    """Signs with the first key and verifies with all, so that keys rotate by being put in front."""

    def __init__(self, seeds: Mapping[str, str]) -> None:
        """Read the keyring: standard base64 of 32 random bytes by `kid`; raise `ValueError` if one is malformed."""
        keys = read_keyring(seeds, "ticket")
        self._kid, self._key = next(iter(keys.items()))
        self._public: dict[str, Ed25519PublicKey] = {kid: key.public_key() for kid, key in keys.items()}

    def sign(self, ticket: TicketClaims) -> str:
        """Return the text that goes into the QR code; raise `ValueError` for claims that do not fit the format."""
        code = ticket.code.encode("ascii")
        if not 1 <= len(code) <= CODE_LIMIT:
            raise ValueError("a ticket's code has 1 to 64 characters")
        if not 0 <= ticket.version <= VERSION_LIMIT:
            raise ValueError("a ticket's version has two bytes")
        head = f"{FORMAT}.{self._kid}."
        claims = ticket.event_id.bytes + ticket.version.to_bytes(2, "big") + code
        return head + _encode(claims + self._key.sign(head.encode() + claims))

    def verify(self, payload: str) -> TicketClaims:
        """Return what a payload claims; raise `BadSignatureError` if no key of ours made exactly this text."""
        head, body = _split(payload)
        key = self._public.get(head.split(".")[1])
        claims, signature = body[:-SIGNATURE_BYTES], body[-SIGNATURE_BYTES:]
        if key is None:
            raise BadSignatureError("the ticket names a key that is not ours")
        try:
            key.verify(signature, head.encode() + claims)
            code = claims[CODE_OFFSET:].decode("ascii")
        except (InvalidSignature, UnicodeDecodeError):
            raise BadSignatureError("the ticket's signature is wrong") from None
        return TicketClaims(event_id=UUID(bytes=claims[:16]), version=int.from_bytes(claims[16:18], "big"), code=code)

    def public_keys(self) -> Mapping[str, bytes]:
        """Return the raw public keys, 32 bytes each, by `kid`."""
        return {kid: key.public_bytes_raw() for kid, key in self._public.items()}


def _split(payload: str) -> tuple[str, bytes]:
    """Return `TV1.<kid>.` and the decoded body; whatever is not exactly our format has a bad signature."""
    parts = payload.split(".") if payload.isascii() and len(payload) <= TEXT_LIMIT else []
    if len(parts) != 3 or parts[0] != FORMAT:  # noqa: PLR2004 format, kid and body
        raise BadSignatureError("this is not a ticket of ours")
    try:
        body = base64.b64decode(parts[2] + "=" * (-len(parts[2]) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise BadSignatureError("this is not a ticket of ours") from None
    if _encode(body) != parts[2] or not 1 <= len(body) - CODE_OFFSET - SIGNATURE_BYTES <= CODE_LIMIT:
        raise BadSignatureError("this is not a ticket of ours")
    return f"{parts[0]}.{parts[1]}.", body


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
