"""The Celery app and the dispatcher: how messages leave a process.

Nobody waits for the broker: messages are handed to a thread, which publishes each distinct one once. What cannot be
published stays for the next try, bounded; the rows behind the messages do not depend on it.
"""

import atexit
import os
import threading
from collections.abc import Collection, Sequence
from typing import Any

import structlog
from celery import Celery

from adapters.broker import count_waiting
from adapters.logs import current_request_id
from adapters.transport import ANSWER_SECONDS, know_queue
from domain.messages import Announcements, Message, joint_payload, pack

log = structlog.get_logger()

RETRY_SECONDS = 1.0
GATHER_SECONDS = 0.1
"""Between two batches the thread rests, so that one ring says for a tier what many would say."""
BACKLOG = 10_000
"""More distinct messages than this are forgotten: the sweep rings for their rows."""


def open_queue_app(config: Any) -> Celery:
    """Return the Celery app; `config` is celeryconfig, a module or its name."""
    # Celery brings one fix-up, for Django, and imports the whole worker with it.
    app = Celery("ticket_vendor", fixups=[])
    app.config_from_object(config)
    # What Flower shows of a message: a few ids tell which, and hundreds would cost more than sending them.
    app.amqp.kwargsrepr_maxsize = 120
    return app


class Dispatcher:
    """Publishes announced messages from a thread of its own, the same message once while it waits."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.close)

    def _reset(self) -> None:
        self._pending: Announcements = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # Beside the condition: whoever brings a message while the thread rests would wake it for nothing.
        self._closing = threading.Event()

    def __call__(self, messages: Announcements) -> None:
        """Take messages over; returns at once, whatever the broker does."""
        current = current_request_id()
        with self._changed:
            for message, request_id in messages.items():
                if len(self._pending) < BACKLOG:
                    self._pending.setdefault(message, request_id or current)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, timeout: float = 1.0) -> None:
        """Publish what waits, for at most `timeout` seconds."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing.is_set())
                if not self._pending:
                    return
                batch, self._pending = self._pending, {}
            if not self._publish(batch):
                if self._closing.is_set():
                    return
                self._keep(batch)
            self._closing.wait(GATHER_SECONDS)

    def _publish(self, batch: Announcements) -> bool:
        """Publish the batch, over Redis in one go; tell whether that worked. Otherwise all of it is published again."""
        try:
            with self._app.producer_or_acquire() as producer, producer.batch():
                for parcel in pack(batch):
                    send(self._app, *parcel, request_ids=[batch[message] for message in parcel], producer=producer)
        # Whatever the transport raises means the same here: not now.
        except Exception as error:  # noqa: BLE001
            log.warning("dispatch.delayed", messages=len(batch), error=str(error))
            return False
        return True

    def _keep(self, batch: Announcements) -> None:
        with self._changed:
            self._pending = {**batch, **self._pending}
        self._closing.wait(RETRY_SECONDS)


def send(app: Celery, *parcel: Message, request_ids: Sequence[str | None] = (), producer: Any = None) -> None:
    """Publish one message, or several that travel as one (`pack`), once: no retry, no result."""
    app.send_task(
        parcel[0].task,
        kwargs=joint_payload(parcel),
        queue=know_queue(app, parcel[0].queue),
        headers=_headers(request_ids),
        producer=producer,
        retry=False,
        confirm_timeout=ANSWER_SECONDS,
        ignore_result=True,
    )


def _headers(request_ids: Sequence[str | None]) -> dict[str, Any] | None:
    if len(request_ids) > 1:
        return {"request_ids": list(request_ids)}
    return {"request_id": request_ids[0]} if any(request_ids) else None


def find_idle(app: Celery, queues: Collection[str]) -> set[str]:
    """Return those of the queues in which no message lies that was not fetched yet."""
    with app.connection_for_write() as connection:
        return {queue for queue, waiting in count_waiting(connection, queues).items() if not waiting}
