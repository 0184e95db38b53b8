"""Repeated requests other than a submit: the first one acts, the others are told what it answered.

Keys belong to a user and stand for one request: method, path and body (draft-ietf-httpapi-idempotency-key-header).
Purchases keep their key in the order itself (`domain/orders.py`).
"""

import hashlib
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from domain.errors import KeyReusedError
from domain.models import IdempotencyKey


def find_answer(session: Session, user_id: UUID, key: str, fingerprint: str) -> IdempotencyKey | None:
    """Return what the first request with this key was answered, or None if this is the first.

    Whoever comes while the first one still acts waits for its transaction. Raises `KeyReusedError` if the key stands
    for another request.
    """
    session.execute(select(func.pg_advisory_xact_lock(_lock_number(user_id, key))))
    kept = session.get(IdempotencyKey, (user_id, key))
    if kept is not None and kept.fingerprint != fingerprint:
        raise KeyReusedError("This Idempotency-Key stands for another request; send a new one.")
    return kept


def keep_answer(session: Session, user_id: UUID, key: str, fingerprint: str, *, status: int, subject: UUID) -> None:
    """Keep what was answered: the status, and the thing whose present state is the body."""
    session.add(
        IdempotencyKey(
            user_id=user_id,
            key=key,
            fingerprint=fingerprint,
            response_status=status,
            response_body={"id": str(subject)},
        )
    )


def _lock_number(user_id: UUID, key: str) -> int:
    digest = hashlib.sha256(user_id.bytes + key.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
