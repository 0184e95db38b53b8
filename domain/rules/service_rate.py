"""How many orders a tier's line is decided at per second, as those who stand in it see it."""

import math

MEMORY_SECONDS = 10.0
"""What lies so far back counts a third of what happened just now. Only time in which somebody waited counts."""


class ServiceRate:
    """A moving average over the time in which a line was not empty, the turns of other tiers included."""

    def __init__(self) -> None:
        self._orders = 0.0
        self._seconds = 0.0
        self._waits_since: float | None = None

    @property
    def per_second(self) -> float | None:
        """The rate, or None as long as nothing was decided."""
        return self._orders / self._seconds if self._orders else None

    def note(self, decided: int, *, began: float, ended: float, has_more: bool) -> None:
        """Note one round over the line, between two moments of a clock in seconds; `has_more` if others wait on."""
        since = began if self._waits_since is None else self._waits_since
        if decided:
            seconds = max(ended - since, 1e-6)
            kept = math.exp(-seconds / MEMORY_SECONDS)
            self._orders = self._orders * kept + decided
            self._seconds = self._seconds * kept + seconds
            since = ended
        self._waits_since = since if has_more else None
