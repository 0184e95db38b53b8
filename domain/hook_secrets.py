"""Secrets of outgoing webhooks, and what they sign (standardwebhooks.com, "Webhook signature").

A secret is made from its id and a key of the server's: whoever reads the tables learns none.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

PREFIX = "whsec_"
_PURPOSE = b"ticket-vendor webhook secrets 1"


@dataclass(frozen=True, slots=True)
class SecretKeyring:
    """Keys by their `kid`; the first one makes new secrets, the others keep those alive that they have made."""

    keys: Mapping[str, bytes]

    @property
    def current(self) -> str:
        """The `kid` of new secrets."""
        return next(iter(self.keys))

    def secret(self, secret_id: UUID, kid: str) -> bytes:
        """Return a secret of 256 bits; raise `KeyError` if the key that makes it is gone."""
        return hmac.digest(self.keys[kid], _PURPOSE + secret_id.bytes, "sha256")


def written(secret: bytes) -> str:
    """Return a secret as receivers' libraries read it."""
    return PREFIX + base64.b64encode(secret).decode()


def sign(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header: one signature per secret. `timestamp` in Unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(secret, signed, "sha256") for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
