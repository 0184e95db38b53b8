"""The bell of a tier's queue: `allocation.serve` wakes the thread that owns the tier, and does nothing else."""

from uuid import UUID

from celery.worker.request import Request

from domain.messages import ServeTier
from workers.allocator import owner
from workers.app import app


class Ring(Request):
    """A ring that came: the broker has forgotten it (`declare_queue`), so that nothing is to be answered.

    Celery would answer all the same, and kombu's Redis would carry a transaction out for it.
    """

    def acknowledge(self) -> None:
        """Answer nothing."""
        self.acknowledged = True


@app.task(name=ServeTier.task, Request=Ring)
def serve(tier_id: str) -> None:
    """Ring the tier's owner; a tier that is not owned here is served by whoever owns it."""
    owner().ring(UUID(tier_id))
