"""The bell of a tier's queue: `allocation.serve` wakes the thread that owns the tier, and does nothing else."""

from uuid import UUID

from domain.messages import ServeTier
from workers.allocator import owner
from workers.app import app


@app.task(name=ServeTier.task)
def serve(tier_id: str) -> None:
    """Ring the tier's owner; a tier that is not owned here is served by whoever owns it."""
    owner().ring(UUID(tier_id))
