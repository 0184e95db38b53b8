"""Places in line. A long line is read as a whole, kept for a moment, and searched: thousands poll it at once.

Short lines are counted afresh each time. Places behind long ones are brought up to date at each look, so that all
processes tell the same (docs/adr/0016-places-and-admission.md).
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from cachetools import TTLCache
from sqlalchemy.orm import Session

from domain import whole_line
from domain.line import COUNTED, Place, Spot, find_spots, place_of
from domain.whole_line import Crowd, WholeLine, count_between

KEPT_SECONDS = 1.0
"""Who joins is counted afresh until then; a longer life would make that part long."""
LINES_KEPT = 100


@dataclass(slots=True)
class _Kept:
    """A line under its cache's clock: brought up to date, it is no younger."""

    line: WholeLine


class Lines:
    """The long lines of the tiers, shared by the threads of a process."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._kept: TTLCache[UUID, _Kept] = TTLCache(LINES_KEPT, KEPT_SECONDS, timer=timer)
        self._lock = threading.Lock()

    def find_place(self, session: Session, order_id: UUID) -> Place | None:
        """Return where the order waits, or None when no tier has it waiting."""
        return self.find_places(session, [order_id]).get(order_id)

    def find_places(self, session: Session, order_ids: Sequence[UUID]) -> Mapping[UUID, Place]:
        """Return where these orders wait; those that no tier has waiting are left out."""
        spots: dict[UUID, list[Spot]] = defaultdict(list)
        for spot in find_spots(session, order_ids):
            spots[spot.order_id].append(spot)
        return {order_id: place for order_id, found in spots.items() if (place := self.place_at(session, found))}

    def place_at(self, session: Session, spots: Sequence[Spot]) -> Place | None:
        """Return the place of an order that waits in these spots, however long their lines are."""
        return place_of([self._measure(session, spot) for spot in spots])

    def count_settled(self, session: Session, tier_id: UUID, decided_until: int, withdrawn: int) -> Crowd:
        """Return who waits for a tier, without those who joined last."""
        line = self._look(session, tier_id, withdrawn)
        return line.between(decided_until, line.settled_until + 1)

    def _measure(self, session: Session, spot: Spot) -> Spot:
        if spot.ahead.orders < COUNTED:
            return spot
        line = self._look(session, spot.tier_id, spot.withdrawn)
        ahead = line.between(spot.decided_until, spot.sequence)
        if spot.sequence > line.settled_until:
            first = max(line.settled_until, spot.decided_until)
            ahead += count_between(session, spot.tier_id, first, spot.sequence)
        # Somebody with a number below those decided last is not in the kept line, and was counted.
        return replace(spot, ahead=Crowd(max(ahead.orders, COUNTED), max(ahead.quantity, spot.ahead.quantity)))

    def _look(self, session: Session, tier_id: UUID, withdrawn: int) -> WholeLine:
        # One thread reads, on the connection that it has already; the others wait for its line instead of reading too.
        with self._lock:
            kept = self._kept.get(tier_id)
            line = kept.line if kept else None
            if line is not None and line.withdrawn < withdrawn:
                line = whole_line.bring_up_to_date(session, tier_id, line)
            if kept is None or line is None:
                line = whole_line.read(session, tier_id)
                self._kept[tier_id] = _Kept(line)
            else:
                kept.line = line
            return line
