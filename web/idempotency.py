"""The `Idempotency-Key` header: reading it, the fingerprint of the request that it stands for, and acting once.

Storing keys and comparing fingerprints belongs to the domain (draft-ietf-httpapi-idempotency-key-header).
"""

import hashlib
import re
from collections.abc import Callable
from uuid import UUID

import orjson
from flask import request
from sqlalchemy.orm import Session

from domain import idempotency
from domain.errors import InvalidError
from web.auth import current_user_id
from web.services import services

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


def once(act: Callable[[Session], UUID], *, status: int) -> tuple[UUID, bool]:
    """Act in a transaction, once per idempotency key where one is sent.

    Returns the id of what was acted on, and whether an earlier request with the key had done it.
    """
    key, user_id = read_optional_key(), current_user_id()
    with services().sessions.begin() as session:
        if key is None:
            return act(session), False
        if kept := idempotency.find_answer(session, user_id, key, fingerprint()):
            return UUID(kept.response_body["id"]), True
        subject = act(session)
        idempotency.keep_answer(session, user_id, key, fingerprint(), status=status, subject=subject)
        return subject, False
