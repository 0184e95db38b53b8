"""The stand-in's time of day: the machine's, and how far a rehearsal has moved it on.

It dates objects, ages idempotency keys and makes webhooks due. Their signatures carry the machine's own time, for
whoever checks them has no other.
"""

import time

from tools.stack.stripe.store import Store

FURTHEST_SECONDS = 400 * 24 * 3600


class Clock:
    """A clock that can be moved forward, never back, not even by a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ahead_seconds = int(store.execute("SELECT coalesce(sum(seconds), 0) FROM advances")[0][0])

    def now(self) -> float:
        """Return the time of day in Unix seconds."""
        return time.time() + self.ahead_seconds

    def advance(self, seconds: int) -> None:
        """Let so much time pass at once."""
        self._store.execute("INSERT INTO advances (seconds) VALUES (?)", (seconds,))
        self.ahead_seconds += seconds
