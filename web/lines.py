"""Places in line. A long line is read as a whole, kept for a moment, and searched: thousands poll it at once.

Short lines are counted afresh each time; what counts as waiting is decided in domain/line.py.
"""

import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from cachetools import TTLCache
from sqlalchemy.orm import Session

from domain.line import COUNTED, Place, Spot, count_between, find_spots, place_of, read_line

KEPT_SECONDS = 0.5
"""Shorter than the shortest `Retry-After`, so that whoever keeps to it never sees an older line than before."""
LINES_KEPT = 100


class Lines:
    """The long lines of the tiers, shared by the threads of a process."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._kept: TTLCache[UUID, array[int]] = TTLCache(LINES_KEPT, KEPT_SECONDS, timer=timer)
        self._lock = threading.Lock()

    def find_place(self, session: Session, order_id: UUID) -> Place | None:
        """Return where the order waits, or None when no tier has it waiting."""
        return place_of([self._measure(session, spot) for spot in find_spots(session, order_id)])

    def _measure(self, session: Session, spot: Spot) -> Spot:
        if spot.ahead < COUNTED:
            return spot
        line = self._look(session, spot.tier_id)
        ahead = bisect_left(line, spot.sequence)
        if ahead == len(line):
            # Whoever joined after the reading: those between are counted, or the place would be too good at first.
            ahead += count_between(session, spot.tier_id, line[-1] if line else 0, spot.sequence)
        return replace(spot, ahead=max(ahead, COUNTED))

    def _look(self, session: Session, tier_id: UUID) -> "array[int]":
        # One thread reads, on the connection that it has already; the others wait for its line instead of reading too.
        with self._lock:
            line = self._kept.get(tier_id)
            if line is None:
                line = self._kept[tier_id] = read_line(session, tier_id)
            return line
