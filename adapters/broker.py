"""What the broker says about itself: whether it answers, and how many messages lie in its queues."""

from collections.abc import Sequence
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class Broker:
    """Asks a Redis-protocol broker, briefly and once; every answer that is late is a `redis.RedisError`."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )

    def ping(self) -> None:
        """Return if the broker answers."""
        self._redis.ping()

    def depths(self, queues: Sequence[str]) -> dict[str, int]:
        """Return how many messages wait in each queue.

        A queue is a list by its own name, as `priority_steps: [0]` has it (celeryconfig); messages that a worker has
        taken and not acknowledged are not in it.
        """
        with self._redis.pipeline(transaction=False) as pipeline:
            for queue in queues:
                pipeline.llen(queue)
            return dict(zip(queues, cast(list[int], pipeline.execute()), strict=True))
