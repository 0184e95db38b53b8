"""A lasting outage: for a while every call of the API fails before it did anything; then all is well by itself.

For trouble with single calls see `faults.py`. Webhooks go on; they have manners of their own. A restart ends it.
"""

import math
import threading
import time
from typing import Any

from tools.stack.stripe.errors import ConnectionCutError, RefusalError
from tools.stack.stripe.faults import Fault

OUTCOMES = ("error", "cut", "hang")
TOO_MANY_REQUESTS = 429


class Outage:
    """At most one outage at a time: a new one takes the place of the last."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._until = 0.0
        self._outcome = OUTCOMES[0]
        self._status = 500

    def begin(self, seconds: float, outcome: str = OUTCOMES[0], status: int = 500) -> None:
        """Let every call fail from now on: with an error, by a cut, or by no answer at all while it lasts."""
        with self._changed:
            self._until = time.monotonic() + seconds
            self._outcome, self._status = outcome, status
            self._changed.notify_all()

    def end(self) -> None:
        """End it before its time."""
        self.begin(0)

    def state(self) -> dict[str, Any]:
        """Return how long it will last, 0 when there is none, and what it does."""
        with self._changed:
            return {"seconds_left": math.ceil(self._left()), "outcome": self._outcome, "status": self._status}

    def strike(self) -> None:
        """Let one call meet the outage, if there is one; what hung is cut when it ends."""
        with self._changed:
            left = self._left()
            if not left:
                return
            if self._outcome == "error":
                # Stripe may say how long to stay away (docs.stripe.com/rate-limits); of a breakdown nobody knows.
                headers = {"Retry-After": str(math.ceil(left))} if self._status == TOO_MANY_REQUESTS else {}
                raise RefusalError(self._status, Fault(status=self._status).body(), headers=headers)
            while self._outcome == "hang" and (left := self._left()):
                self._changed.wait(left)
        raise ConnectionCutError

    def _left(self) -> float:
        return max(0.0, self._until - time.monotonic())
