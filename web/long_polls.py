"""Requests that wait for an order to move: bounded, so that most threads stay free to answer."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from domain.line import Pulse

log = structlog.get_logger()

LOOK_SECONDS = 0.25
"""One look serves all who wait; a payment takes longer than this anyway."""
TakePulses = Callable[[Sequence[UUID]], Mapping[UUID, Pulse]]


@dataclass(eq=False, frozen=True, slots=True)
class _Guest:
    """Who waits for what, and the bell that ends it."""

    order_id: UUID
    seen: Pulse
    bell: threading.Event = field(default_factory=threading.Event)


class WaitingRoom:
    """Seats so many waiting requests at once, and looks for all of them together while there are any."""

    def __init__(self, seats: int, take_pulses: TakePulses) -> None:
        self._seats = threading.Semaphore(seats)
        self._take_pulses = take_pulses
        self._guests: set[_Guest] = set()
        self._is_watched = False
        self._lock = threading.Lock()

    def wait_for_change(self, order_id: UUID, seen: Pulse, seconds: float) -> bool:
        """Return once the order has moved or the time is up; False if there was no seat.

        Moving up in the line does not end the wait: its place is for the caller to look up, once.
        """
        if not self._seats.acquire(blocking=False):
            return False
        guest = _Guest(order_id, seen)
        try:
            self._seat(guest)
            guest.bell.wait(seconds)
        finally:
            with self._lock:
                self._guests.discard(guest)
            self._seats.release()
        return True

    def _seat(self, guest: _Guest) -> None:
        with self._lock:
            self._guests.add(guest)
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, name="waiting-room", daemon=True).start()

    def _watch(self) -> None:
        while guests := self._present():
            time.sleep(LOOK_SECONDS)
            for guest in self._moved(guests):
                guest.bell.set()

    def _present(self) -> set[_Guest]:
        with self._lock:
            self._is_watched = bool(self._guests)
            return set(self._guests)

    def _moved(self, guests: set[_Guest]) -> set[_Guest]:
        try:
            pulses = self._take_pulses([*{guest.order_id for guest in guests}])
        except Exception as error:  # noqa: BLE001 whoever waits asks for themselves then, and is told what is wrong
            log.warning("long_polls.ended", guests=len(guests), error=str(error))
            return guests
        return {guest for guest in guests if pulses.get(guest.order_id, guest.seen).has_moved_since(guest.seen)}
