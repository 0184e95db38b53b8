"""What can be made to go wrong on purpose, for tests and for the curious."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Plan:
    """The faults in force; times in seconds.

    `fail_next` requests are answered with `status` (and `retry_after`, if any) before the mail is taken;
    `hold_next` are taken, yet the answer is held back for `hold_seconds`, so that the caller times out.
    """

    latency: float = 0
    fail_next: int = 0
    status: int = 500
    retry_after: int | None = None
    hold_next: int = 0
    hold_seconds: float = 60
    webhooks_paused: bool = False
    webhook_duplicates: int = 0


class Faults:
    """The plan, shared by the threads of the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plan = Plan()
        self._released = threading.Event()

    @property
    def latency(self) -> float:
        """Seconds that each request waits."""
        return self._plan.latency

    @property
    def webhooks_paused(self) -> bool:
        """Whether events are kept back."""
        return self._plan.webhooks_paused

    @property
    def webhook_duplicates(self) -> int:
        """How many times more than once each batch of events is posted."""
        return self._plan.webhook_duplicates

    def as_dict(self) -> dict[str, Any]:
        """Return the plan for people."""
        return asdict(self._plan)

    def change(self, values: Mapping[str, Any]) -> None:
        """Change parts of the plan; raise `ValueError` for a name or value that is not of it."""
        defaults = asdict(Plan(retry_after=0))
        for name, value in values.items():
            wanted = bool if isinstance(defaults.get(name), bool) else (int, float)
            if name not in defaults or not isinstance(value, wanted) or value < 0:
                raise ValueError(f"{name}: give a value of its kind to one of {', '.join(defaults)}")
        with self._lock:
            self._plan = replace(self._plan, **values)

    def clear(self) -> None:
        """Return to normal, and let go of answers that are held back."""
        with self._lock:
            self._plan = Plan()
            self._released.set()
            self._released = threading.Event()

    def take_failure(self) -> Plan | None:
        """Return the plan if this request is to fail."""
        with self._lock:
            plan = self._plan
            if plan.fail_next < 1:
                return None
            self._plan = replace(plan, fail_next=plan.fail_next - 1)
            return plan

    def hold_answer(self) -> None:
        """Wait, if this request's answer is to be held back."""
        with self._lock:
            plan, released = self._plan, self._released
            if plan.hold_next < 1:
                return
            self._plan = replace(plan, hold_next=plan.hold_next - 1)
        released.wait(plan.hold_seconds)
