"""Idempotency keys (docs.stripe.com/api/idempotent_requests): one execution, and its answer repeated for a day."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tools.stack.stripe.errors import RefusalError, envelope, invalid
from tools.stack.stripe.store import Store

KEEP_SECONDS = 24 * 3600
LONGEST_KEY = 255


@dataclass(frozen=True)
class StoredAnswer:
    """The answer of the first request with a key."""

    request_id: str
    status: int
    body: str


def fingerprint(method: str, path: str, form: dict[str, Any]) -> str:
    """Return what must be equal for two requests to be the same."""
    text = json.dumps([method, path, form], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Idempotency:
    """Which keys are being worked on, and what the finished ones answered."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._busy: set[tuple[str, str]] = set()

    @contextmanager
    def hold(self, account: str, key: str) -> Iterator[None]:
        """Work on a key alone; refuse with 409 while another request does."""
        if len(key) > LONGEST_KEY:
            raise invalid(f"Idempotency keys can have at most {LONGEST_KEY} characters.")
        held = (account, key)
        with self._lock:
            if held in self._busy:
                message = (
                    "There is currently another in-progress request using this Idempotent Key (that probably means "
                    f"you submitted twice, and the other request is still going through): {key}. Please try again "
                    "later."
                )
                raise RefusalError(409, envelope("invalid_request_error", message, code="idempotency_key_in_use"))
            self._busy.add(held)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(held)

    def recall(self, account: str, key: str, asked: str, now: int) -> StoredAnswer | None:
        """Return the stored answer; refuse when the key came with another request."""
        rows = self._store.execute(
            "SELECT * FROM answers WHERE account = ? AND key = ? AND created > ?", (account, key, now - KEEP_SECONDS)
        )
        if not rows:
            return None
        if rows[0]["fingerprint"] != asked:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request."
            )
            raise RefusalError(400, envelope("idempotency_error", message))
        return StoredAnswer(rows[0]["request_id"], rows[0]["status"], rows[0]["body"])

    def keep(self, account: str, key: str, asked: str, answer: StoredAnswer, now: int) -> None:
        """Store an answer, in the transaction of its effect."""
        self._store.execute(
            "INSERT OR REPLACE INTO answers (account, key, fingerprint, request_id, status, body, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (account, key, asked, answer.request_id, answer.status, answer.body, now),
        )
