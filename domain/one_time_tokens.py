"""One-time tokens of mails: made from a row's id and a key of the server, so that no table ever holds one.

The database keeps a token's SHA-256, and the outbox only the ids that it is made from: whoever reads either learns no
token, while the worker that sends the mail, which has the key, can write the link.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TokenKeyring:
    """Keys by their `kid`; the first one makes new tokens, the others finish what was begun before a rotation."""

    keys: Mapping[str, bytes]

    @classmethod
    def derived_from(cls, secrets: Mapping[str, str]) -> "TokenKeyring":
        """Return a keyring derived from other secrets (one block of RFC 5869's HKDF): neither tells the other."""
        purpose = b"ticket-vendor one-time tokens 1"
        return cls({kid: hmac.digest(secret.encode(), purpose, "sha256") for kid, secret in secrets.items()})

    @property
    def current(self) -> str:
        """The `kid` of new tokens."""
        return next(iter(self.keys))

    def token(self, token_id: UUID, kid: str, purpose: bytes = b"") -> str:
        """Return the token of a row for a purpose: 256 bits, 43 characters that are safe in a link."""
        # The id has a fixed length, so that no two pairs of purpose and id read alike.
        digest = hmac.digest(self.keys[kid], purpose + token_id.bytes, "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def is_token(self, token: str, token_id: UUID, purpose: bytes) -> bool:
        """Tell, in constant time, whether this is the token of a row for a purpose, made with any of the keys."""
        given = token.encode()
        return any(hmac.compare_digest(given, self.token(token_id, kid, purpose).encode()) for kid in self.keys)


def hash_token(token: str) -> str:
    """Return what the database keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


_PAGES = {"verify_email": "verify-email", "password_reset": "reset-password"}


def reference(keyring: TokenKeyring, token_id: UUID) -> dict[str, str]:
    """Return what an outbox row keeps instead of the token."""
    return {"token_id": str(token_id), "kid": keyring.current}


def with_link(template: str, context: Mapping[str, Any], keyring: TokenKeyring, public_url: str) -> dict[str, Any]:
    """Return a letter's context with the link in the place of the reference; other letters' contexts as they are.

    Raises `KeyError` when the key that made the token is gone.
    """
    if template not in _PAGES or "token_id" not in context:
        return dict(context)
    rest = {name: value for name, value in context.items() if name not in {"token_id", "kid"}}
    token = keyring.token(UUID(context["token_id"]), context["kid"])
    return {**rest, "link": f"{public_url.rstrip('/')}/{_PAGES[template]}?token={token}"}
