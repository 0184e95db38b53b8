"""Where an order stands in its tiers' lines, and whether it has moved: the cheap questions of a polling client."""

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from domain.rules.states import OrderStage

COUNTED = 1000
"""So many people ahead are counted one by one; a longer line is read as a whole, by whoever can keep it a while."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an order waits in one tier; `ahead` is exact below `COUNTED`, and never more."""

    tier_id: UUID
    sequence: int
    ahead: int
    is_paused: bool
    service_rate: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """How many orders are ahead, over the order's tiers the longest line; the time that takes, where it is known."""

    ahead: int
    eta_seconds: float | None
    is_paused: bool

    @property
    def position(self) -> int:
        """1 is the head of the line."""
        return self.ahead + 1


HEAD = Place(0, None, is_paused=False)


@dataclass(frozen=True, slots=True)
class Pulse:
    """What tells whether an order has moved since somebody last looked; its place only where that was asked for."""

    buyer_id: UUID
    version: int
    stage: OrderStage
    place: Place | None = None
    tier_ids: tuple[UUID, ...] = field(default=(), compare=False)
    """The tiers that the order wants something of; they never change."""

    def has_moved_since(self, other: "Pulse") -> bool:
        """Tell whether the order itself differs, wherever in the line it stands."""
        return (self.version, self.stage) != (other.version, other.stage)

    @property
    def tag(self) -> str:
        """Differs when the order, or roughly its place, differs."""
        if self.place is None:
            return str(self.version)
        return f"{self.version}-{_coarse(self.place.ahead)}{'p' if self.place.is_paused else ''}"


def _coarse(ahead: int) -> int:
    """Round to two digits, so that a long line does not change the tag with each order served."""
    step: int = 10 ** max(0, len(str(ahead)) - 2)
    return ahead // step * step


def take_pulse(session: Session, order_id: UUID) -> Pulse | None:
    """Return the order's pulse without its place, or None if there is no such order."""
    return take_pulses(session, [order_id]).get(order_id)


_TAKE_PULSES = text("""
    SELECT id, user_id, version, stage,
           ARRAY(SELECT tier_id FROM order_items WHERE order_id = orders.id) AS tier_ids
    FROM orders WHERE id = ANY(:order_ids)
""")


def take_pulses(session: Session, order_ids: Sequence[UUID]) -> dict[UUID, Pulse]:
    """Return the pulses, without their places, of those of the orders that there are."""
    rows = session.execute(_TAKE_PULSES, {"order_ids": list(order_ids)})
    return {
        row.id: Pulse(row.user_id, row.version, OrderStage(row.stage), tier_ids=tuple(row.tier_ids)) for row in rows
    }


_FIND_SPOTS = text("""
    SELECT item.tier_id, item.sequence, tier.is_paused, tier.service_rate, (
        SELECT count(*) FROM (
            SELECT FROM order_items AS other
            WHERE other.tier_id = item.tier_id AND other.sequence < item.sequence
              AND other.inventory_state = 'queued' AND other.desired_state IS NULL
            ORDER BY other.sequence LIMIT :most
        ) AS near
    ) AS ahead
    FROM order_items AS item JOIN ticket_tiers AS tier ON tier.id = item.tier_id
    WHERE item.order_id = :order_id AND item.inventory_state = 'queued' AND item.desired_state IS NULL
""")


def find_spots(session: Session, order_id: UUID) -> list[Spot]:
    """Return where the order waits, tier by tier; the time that takes has a bound, however long the lines are."""
    rows = session.execute(_FIND_SPOTS, {"order_id": order_id, "most": COUNTED})
    return [Spot(row.tier_id, row.sequence, row.ahead, row.is_paused, row.service_rate) for row in rows]


def place_of(spots: Sequence[Spot]) -> Place | None:
    """Return the place of an order that waits in these spots, or None when no tier has it waiting."""
    if not spots:
        return None
    is_paused = any(spot.is_paused for spot in spots)
    paces = [spot.ahead / spot.service_rate for spot in spots if spot.service_rate]
    is_known = not is_paused and len(paces) == len(spots)
    return Place(max(spot.ahead for spot in spots), max(paces) if is_known else None, is_paused)


# One value of 8 bytes each, big-endian: a hundred thousand rows would cost ten times as much.
_READ_LINE = text("""
    SELECT string_agg(int8send(sequence), ''::bytea ORDER BY sequence) FROM order_items
    WHERE tier_id = :tier_id AND inventory_state = 'queued' AND desired_state IS NULL
""")


def read_line(session: Session, tier_id: UUID) -> "array[int]":
    """Return the numbers of all who wait for a tier, in their order."""
    line = array("q", session.scalar(_READ_LINE, {"tier_id": tier_id}) or b"")
    if sys.byteorder == "little":
        line.byteswap()
    return line


def count_between(session: Session, tier_id: UUID, first: int, last: int) -> int:
    """Return how many wait for a tier with numbers above `first` and below `last`."""
    between = {"tier_id": tier_id, "first": first, "last": last}
    count: int = session.scalar(_COUNT_BETWEEN, between)
    return count


_COUNT_BETWEEN = text("""
    SELECT count(*) FROM order_items
    WHERE tier_id = :tier_id AND sequence > :first AND sequence < :last
      AND inventory_state = 'queued' AND desired_state IS NULL
""")
