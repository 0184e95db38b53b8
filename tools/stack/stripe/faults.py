"""Trouble on demand: for the next calls of a kind, wait, answer an error, or cut the connection.

Each strikes before the call had its effect or after it. They live in memory: a restart ends all trouble.
"""

import random
import threading
from dataclasses import dataclass, field
from typing import Any

from tools.stack.stripe.errors import envelope
from tools.stack.stripe.ids import new_id

Body = dict[str, Any]

OUTCOMES = ("none", "error", "cut")
MOMENTS = ("before", "after")


@dataclass
class Fault:
    """One kind of trouble: `outcome` none only waits; `call` is a call's name, or * for any."""

    call: str = "*"
    times: int = 1
    when: str = "before"
    outcome: str = "error"
    status: int = 500
    latency_seconds: float = 0
    latency_jitter_seconds: float = 0
    id: str = field(default_factory=lambda: new_id("fault", 8))

    @property
    def kept(self) -> bool:
        """Tell whether the key repeats this error: Stripe stores a 500 that came while executing, no 429 or 409."""
        return self.outcome == "error" and self.when == "after" and self.status >= 500  # noqa: PLR2004 server errors

    def pause(self) -> float:
        """Return how long this call waits: the latency, and a part of the jitter by chance."""
        return self.latency_seconds + random.uniform(0, self.latency_jitter_seconds)  # noqa: S311 no secret

    def body(self) -> Body:
        """Return the error that is answered."""
        if self.status == 429:  # noqa: PLR2004 the status says it
            message = "Request rate limit exceeded. This is the stand-in's doing."
            return envelope("invalid_request_error", message, code="rate_limit")
        if self.status == 409:  # noqa: PLR2004 the status says it
            message = "This object cannot be accessed right now because another request is currently accessing it."
            return envelope("invalid_request_error", message, code="lock_timeout")
        return envelope("api_error", "An unknown error occurred. This is the stand-in's doing.")


class Faults:
    """The trouble that still waits for its calls, in the order of arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let the next calls of a kind meet this fault."""
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        """End all trouble."""
        with self._lock:
            self._waiting.clear()

    def waiting(self) -> list[Fault]:
        """Return what has not struck often enough yet."""
        with self._lock:
            return list(self._waiting)

    def take(self, call: str) -> Fault | None:
        """Return the fault that this call meets, if any, and count it."""
        with self._lock:
            for fault in self._waiting:
                if fault.call in {call, "*"}:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                    return fault
        return None
