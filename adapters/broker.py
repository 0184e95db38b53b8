"""What is asked of the broker beside sending and fetching: does it answer, how much lies in its queues, and where."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from kombu import Connection
from kombu.exceptions import KombuError
from redis import RedisError

from adapters.transport import transport_options

NOT_FOUND = 404
"""RabbitMQ's answer to a question about a queue that it does not have."""


class BrokerError(Exception):
    """The broker did not answer, or not in time."""


class Broker:
    """Asks a broker of any kind, briefly and once; every failure is a `BrokerError`."""

    def __init__(self, url: str, *, timeout_seconds: float, sentinel_master: str | None = None) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._options = transport_options(url, sentinel_master=sentinel_master, socket_seconds=timeout_seconds)

    def ping(self) -> None:
        """Return if the broker answers."""
        with self._connect():
            pass

    def depths(self, queues: Collection[str]) -> dict[str, int]:
        """Return how many messages wait in each queue."""
        with self._connect() as connection:
            return count_waiting(connection, queues)

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        connection = Connection(self._url, connect_timeout=self._timeout_seconds, transport_options=self._options)
        try:
            with connection:
                # Opening a channel is the first question: the Redis transport has asked nothing before.
                connection.default_channel  # noqa: B018
                yield connection
        except (*connection.connection_errors, *connection.channel_errors, KombuError) as error:
            raise BrokerError(type(error).__name__) from error


_TAKE = """
    local found = {}
    for place, queue in ipairs(KEYS) do
        if redis.call('DEL', queue) == 1 then found[#found + 1] = place end
    end
    return found
"""


def take_waiting(channel: Any, queues: Sequence[str]) -> list[str]:
    """Throw away all that lies in these queues, and return those in which something lay; `channel` is one of Redis.

    One script takes a tenth of the time that as many commands would. Raises `BrokerError` if Redis does not answer.
    """
    try:
        with channel.conn_or_acquire() as client:
            found = client.eval(_TAKE, len(queues), *queues)
    except RedisError as error:
        raise BrokerError(type(error).__name__) from error
    return [queues[place - 1] for place in found]


def count_waiting(connection: Connection, queues: Collection[str]) -> dict[str, int]:
    """Return how many messages lie in each queue that nobody has fetched; none where there is no such queue."""
    channel = connection.default_channel
    if connection.transport.driver_type == "redis":
        # A queue is a list by its own name, as `priority_steps` has it; thousands are asked for in one round trip.
        with channel.client.pipeline(transaction=False) as pipeline:
            for queue in queues:
                pipeline.llen(queue)
            return dict(zip(queues, cast(list[int], pipeline.execute()), strict=True))
    counts = dict.fromkeys(queues, 0)
    for queue in queues:
        try:
            counts[queue] = int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors as error:
            if getattr(error, "code", NOT_FOUND) != NOT_FOUND:
                raise
            channel = connection.channel()  # RabbitMQ has closed the other one over it
    return counts
