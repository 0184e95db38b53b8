"""The bell of a tier's queue: a message in it wakes the thread that owns the tier, and does nothing else."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery.exceptions import InvalidTaskError

from domain.messages import ServeTier
from workers.allocator import owner
from workers.app import app


@app.task(name=ServeTier.task, Strategy="workers.allocation:ring_at_once")
def serve(tier_id: str) -> None:
    """Ring the tier's owner; a tier that is not owned here is served by whoever owns it."""
    owner().ring(UUID(tier_id))


def ring_at_once(*_: Any) -> Callable[..., None]:
    """Return what Celery hands the rings to as they come (`Task.Strategy`).

    Usually it makes a request of each message, traces how it is carried out and answers the broker, all for a flag to
    be set. There is nothing to answer, since the broker has forgotten a ring once it is here (`declare_queue`).
    """

    def ring(message: Any, *_: Any) -> None:
        try:
            _, arguments, _ = message.payload
            serve.run(**arguments)
        except (AttributeError, TypeError, ValueError) as error:
            raise InvalidTaskError(f"no ring: {error}") from error

    return ring
