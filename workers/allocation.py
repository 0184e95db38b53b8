"""The bell of a tier's queue: a message in it wakes the thread that owns the tier, and does nothing else."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any
from uuid import UUID

from celery.exceptions import InvalidTaskError

from adapters.broker import BrokerError, take_waiting
from adapters.transport import speaks_amqp
from domain.messages import ServeTier, tier_queue
from workers.allocator import owner
from workers.app import app
from workers.fence import REST_SECONDS


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

    def ring_with_others(message: Any, *_: Any) -> None:
        ring(message)
        # The owner rests as long after a round: what rings meanwhile is heard in time.
        time.sleep(REST_SECONDS)
        tiers = _by_queue(owner().owned)
        # If Redis is away, Celery finds out next; the owner looks for rows by itself meanwhile.
        with suppress(BrokerError):
            for queue in take_waiting(message.channel, list(tiers)):
                owner().ring(tiers[queue])

    # RabbitMQ sends unasked what there is. Redis is asked for one message of five hundred queues, again and again.
    return ring if speaks_amqp(app.conf.broker_url) else ring_with_others


@lru_cache(maxsize=1)
def _by_queue(tier_ids: frozenset[UUID]) -> Mapping[str, UUID]:
    return {tier_queue(tier_id): tier_id for tier_id in tier_ids}
