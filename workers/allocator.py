"""The allocator's process: a Celery worker that consumes the queues of the tiers it owns, and no others.

Started as `celery -A workers.allocator worker --pool solo`; several share the tiers, and one that is started while
they sell gets its part within seconds. A tier passes to another when its owner dies.
"""

import logging
import os
import socket
from functools import cache
from typing import Any

from celery import bootsteps, signals
from sqlalchemy import Connection
from sqlalchemy.orm import Session, sessionmaker

from adapters.database import dispatch_after_commit, open_fence_engine
from adapters.garbage import set_start_aside
from adapters.statements import open_fenced_sessions
from adapters.transport import know_queue
from domain.messages import tier_queue
from workers.app import app, clock, clocks, dispatcher, settings
from workers.fence import TierOwner
from workers.serving import Pace

SYNC_SECONDS = 0.5
STOP_SECONDS = 5.0

# An allocator has no other tasks: it must not import what it never runs.
app.conf.include = ["workers.allocation"]
app.conf.worker_send_task_events = False
# Nor does it say twice of each ring that it came: what a round did is said by the round.
for _name in ("celery.worker.strategy", "celery.app.trace"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@cache
def owner() -> TierOwner:
    """Return this process's owner of tiers."""
    engine = open_fence_engine(
        settings().session_database_url,
        silence_seconds=settings().fence_silence_seconds,
        # By this name operators and the metrics tell the allocators apart (pg_stat_activity).
        application_name=f"allocator {os.getpid()}@{socket.gethostname()}",
    )
    pace = Pace(settings().allocation_batch, settings().allocation_slice_seconds)
    return TierOwner(engine, _open_sessions, clock, clocks(), pace)


def _open_sessions(connection: Connection) -> sessionmaker[Session]:
    sessions = open_fenced_sessions(connection)
    dispatch_after_commit(sessions, dispatcher())
    return sessions


class ConsumeOwnedTiers(bootsteps.StartStopStep):
    """Keeps the consumed queues equal to the owned tiers (docs.celeryq.dev/en/stable/userguide/extending.html)."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Let the queues follow the locks from now on; also after each reconnection to the broker."""
        # After a reconnection Celery consumes again what it did before, also of tiers that were lost meanwhile.
        self._consumed = frozenset(consumer.app.amqp.queues.consume_from)
        self._timer = consumer.timer.call_repeatedly(SYNC_SECONDS, self._follow, (consumer,))

    def stop(self, _consumer: Any) -> None:
        """Stop following."""
        self._timer.cancel()

    def _follow(self, consumer: Any) -> None:
        wanted = frozenset(tier_queue(tier_id) for tier_id in owner().owned)
        for queue in wanted - self._consumed:
            know_queue(consumer.app, queue)
            consumer.add_task_queue(queue)
        for queue in self._consumed - wanted:
            consumer.cancel_task_queue(queue)
        self._consumed = wanted


app.steps["consumer"].add(ConsumeOwnedTiers)


@signals.worker_init.connect
def _consume_no_other_queue(**_: Any) -> None:
    # `queues.select([])` would mean all of them; this is how Celery itself stores a selection.
    app.amqp.queues._consume_from = {}  # noqa: SLF001


@signals.worker_ready.connect
def _start_owning(**_: Any) -> None:
    set_start_aside()
    if not owner().is_alive():
        owner().start()


@signals.worker_shutting_down.connect
def _stop_owning(**_: Any) -> None:
    owner().stop(STOP_SECONDS)
