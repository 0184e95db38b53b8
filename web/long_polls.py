"""Requests that wait for an order to move: bounded, so that most threads stay free to answer."""

import threading
import time
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from domain.line import Pulse, take_pulse

LOOK_SECONDS = 0.25
"""Each look costs a few milliseconds of CPU per waiting request; a payment takes longer than this anyway."""


class WaitingRoom:
    """Seats so many waiting requests at once."""

    def __init__(self, seats: int) -> None:
        self._seats = threading.Semaphore(seats)

    def wait_for_change(
        self, sessions: sessionmaker[Session], order_id: UUID, seen: Pulse, seconds: float
    ) -> tuple[Pulse, bool]:
        """Return the order's pulse once it has moved or the time is up, and whether there was a seat.

        Moving up in the line does not end the wait: its place is for the caller to look up, once.
        """
        if not self._seats.acquire(blocking=False):
            return seen, False
        try:
            return _watch(sessions, order_id, seen, seconds), True
        finally:
            self._seats.release()


def _watch(sessions: sessionmaker[Session], order_id: UUID, seen: Pulse, seconds: float) -> Pulse:
    deadline = time.monotonic() + seconds
    pulse = seen
    while not pulse.has_moved_since(seen) and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(LOOK_SECONDS, left))
        with sessions() as session:
            pulse = take_pulse(session, order_id) or seen
    return pulse
