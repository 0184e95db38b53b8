"""Questions that must be answered in time, whatever hangs behind them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Probe(Generic[Answer]):
    """Asks in a thread of its own, one at a time, and keeps each answer or error for `keep` seconds.

    However many ask, and however long it hangs, there is never more than one thread.
    """

    def __init__(self, question: Callable[[], Answer], *, keep: float) -> None:
        self._question = question
        self._keep = keep
        self._lock = threading.Lock()
        self._future: Future[Answer] | None = None
        self._answered_at = 0.0

    def ask(self) -> Future[Answer]:
        """Return the answer to come: `.result(timeout)` raises `TimeoutError` if it is late."""
        with self._lock:
            future = self._future
            if future is None or (future.done() and time.monotonic() - self._answered_at >= self._keep):
                future = self._future = Future()
                threading.Thread(target=self._run, args=(future,), name="probe", daemon=True).start()
        return future

    def _run(self, future: Future[Answer]) -> None:
        try:
            answer = self._question()
        except Exception as error:  # noqa: BLE001 it is the asker's to sort
            self._answered_at = time.monotonic()
            future.set_exception(error)
        else:
            self._answered_at = time.monotonic()
            future.set_result(answer)
