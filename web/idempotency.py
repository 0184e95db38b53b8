"""The `Idempotency-Key` header: reading it, and the fingerprint of the request that it stands for.

Storing keys and comparing fingerprints belongs to the domain (draft-ietf-httpapi-idempotency-key-header).
"""

import hashlib
import re

import orjson
from flask import request

from domain.errors import InvalidError

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
LENGTH_MAX = 255
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


def read_key() -> str:
    """Return the key of this request; raise `InvalidError` if it is missing or malformed."""
    key = read_optional_key()
    if key is None:
        raise InvalidError(
            f"Send an {HEADER} header, a new one for each purchase and the same one when you repeat it.",
            code="idempotency-key-missing",
        )
    return key


def read_optional_key() -> str | None:
    """Return the key of this request, or None; raise `InvalidError` if it is malformed.

    It comes as a quoted string (RFC 9651 section 3.3.3, as the draft says) or bare, as Stripe's clients send it.
    """
    header = request.headers.get(HEADER)
    if header is None:
        return None
    value = header.strip()
    if quoted := _QUOTED.fullmatch(value):
        value = re.sub(r'\\(["\\])', r"\1", quoted[1])
    if not _VISIBLE_ASCII.fullmatch(value):
        raise InvalidError(
            f"An {HEADER} has 1 to {LENGTH_MAX} visible ASCII characters, in double quotes or bare.",
            code="idempotency-key-malformed",
        )
    return value


def fingerprint() -> str:
    """Return the SHA-256 of what is asked: method, path, and the JSON body in canonical form."""
    body = request.get_json(silent=True) if request.get_data(cache=True) else None
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"\n".join((request.method.encode(), request.path.encode(), canonical))).hexdigest()
