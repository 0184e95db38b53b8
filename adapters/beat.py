"""When beat's jobs are due: each at a moment of its own, so that they do not all fall together and keep a core."""

from datetime import UTC, datetime, timedelta

from celery.schedules import schedstate, schedule

EARLY_SECONDS = 0.015
"""Beat wakes 10 ms before a job is due, and would ask without a pause until it is (`Scheduler.adjust`)."""


class Staggered(schedule):
    """Every so many seconds by the clock, and so many after the full period."""

    def __init__(self, seconds: float, after: float) -> None:
        super().__init__(timedelta(seconds=seconds))
        self.after = after

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is until the first moment after the last run, which may have come a little early."""
        since_moment = self.maybe_make_aware(last_run_at).timestamp() - self.after + 2 * EARLY_SECONDS
        moment = (since_moment // self.seconds + 1) * self.seconds + self.after
        now: datetime = self.now()
        return datetime.fromtimestamp(moment, UTC) - now

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether the job is due, and after how many seconds to ask again."""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > EARLY_SECONDS:
            return schedstate(is_due=False, next=remaining)
        return schedstate(is_due=True, next=self.remaining_estimate(self.now()).total_seconds())

    def __reduce__(self) -> tuple[type["Staggered"], tuple[float, float]]:
        return type(self), (self.seconds, self.after)
