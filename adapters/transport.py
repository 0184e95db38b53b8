"""How Celery's messages travel over each kind of broker: its options, and the one declaration of every queue.

Redis and Redis behind Sentinel (`redis`, `rediss`, `sentinel`) and RabbitMQ (`amqp`, `amqps`). Several hosts are
written `amqp://…;amqp://…`: the next one is tried when one does not answer.
"""

from typing import Any

from celery import Celery
from kombu import Queue

from domain.messages import TIER_QUEUE_PREFIX

SOCKET_SECONDS = 5.0
"""Above the BRPOP time-out of one second, so that only a dead connection is cut."""
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""RabbitMQ's answer that it has a message takes no longer, unless it is in trouble."""
TIER_QUEUE_KEPT_SECONDS = 3600
"""RabbitMQ deletes a tier's queue that nobody has consumed for so long: the sale is over."""


def transport_options(
    url: str, *, sentinel_master: str | None = None, socket_seconds: float = SOCKET_SECONDS
) -> dict[str, Any]:
    """Return kombu's options for the broker of this address (kombu/transport/redis.py and pyamqp.py list them)."""
    # Publishing tries each host once, at once: what waits for another try is the dispatcher.
    options: dict[str, Any] = {"max_retries": url.count(";"), "interval_start": 0}
    if speaks_amqp(url):
        # A message counts as published when the nodes have it; one that is lost would be rung again 10 s later.
        # The time-outs are those of a single read or write, so that a node which hangs is left for another.
        seconds = min(ANSWER_SECONDS, socket_seconds)
        return options | {"confirm_publish": True, "read_timeout": seconds, "write_timeout": seconds}
    options |= {
        # A message of a killed worker comes back after this; the rows do not depend on it, so it is only a spare bell.
        "visibility_timeout": 60,
        "unacked_restore_interval": 5,
        # One Redis key per queue: kombu's default keeps four for priorities that we do not use.
        "priority_steps": [0],
        "socket_timeout": socket_seconds,
        "socket_connect_timeout": min(CONNECT_SECONDS, socket_seconds),
        "socket_keepalive": True,
    }
    return options | ({"master_name": sentinel_master} if sentinel_master else {})


def declare_queue(name: str, url: str) -> Queue:
    """Return the declaration of a queue, the same for who publishes and who consumes.

    RabbitMQ refuses to declare a queue again with other arguments, so they stand here alone.
    """
    # A ring may be lost: no broker keeps it until it is answered, which over Redis costs more than the answer does.
    is_tiers = name.startswith(TIER_QUEUE_PREFIX)
    if not speaks_amqp(url):
        return Queue(name, routing_key=name, no_ack=is_tiers)
    # Replicated over the nodes of a cluster, so that the loss of one stops nothing (rabbitmq.com/docs/quorum-queues).
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    if is_tiers:
        arguments |= {"x-single-active-consumer": True, "x-expires": TIER_QUEUE_KEPT_SECONDS * 1000}
    return Queue(name, routing_key=name, no_ack=is_tiers, queue_arguments=arguments)


def know_queue(app: Celery, name: str) -> Queue:
    """Return the app's queue of this name, declared as everywhere; the tiers' come and go."""
    queues = app.amqp.queues
    # `in`, because asking for a missing one would make Celery invent it, with other arguments.
    return queues[name] if name in queues else queues.add(declare_queue(name, app.conf.broker_url))


def speaks_amqp(url: str) -> bool:
    """Tell whether the broker is RabbitMQ."""
    return url.startswith("amqp")
