"""A clock that stands still until it is moved."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    def __init__(self, now: datetime = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, **parts: float) -> datetime:
        """Move by `timedelta(**parts)`; a negative step is a clock set back."""
        self._now += timedelta(**parts)
        return self._now

    def set(self, now: datetime) -> None:
        self._now = now
