"""Where an order stands in its tiers' lines, and whether it has moved: the cheap questions of a polling client."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from domain.rules.places import Outlook, eta_seconds, outlook, worst
from domain.rules.states import OrderStage
from domain.whole_line import Crowd

COUNTED = 1000
"""So many people ahead are counted one by one; a longer line is read as a whole, by whoever can keep it a while."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an order waits in one tier; `ahead` is exact below `COUNTED` orders, and never more."""

    order_id: UUID
    tier_id: UUID
    sequence: int
    quantity: int
    ahead: Crowd
    entries_want: int
    """Tickets that waiting entries of the waitlist with lower numbers would take; told where it matters."""
    free: int
    unsold: int
    is_paused: bool
    service_rate: float | None
    still_seconds: float
    """For how long nobody has been decided, though this order waited."""
    decided_until: int
    withdrawn: int

    @property
    def eta_seconds(self) -> int | None:
        """In how many seconds it is decided, where that is known."""
        return eta_seconds(
            self.ahead.orders, self.service_rate, is_paused=self.is_paused, still_seconds=self.still_seconds
        )

    @property
    def outlook(self) -> Outlook:
        """Whether the tier will have enough left."""
        wanted = self.ahead.quantity + self.entries_want
        return outlook(self.quantity, free=self.free, unsold=self.unsold, wanted_ahead=wanted)


@dataclass(frozen=True, slots=True)
class Place:
    """How many orders are ahead, over the order's tiers the longest line; the time that takes, where it is known."""

    ahead: int
    eta_seconds: int | None
    is_paused: bool
    outlook: Outlook

    @property
    def position(self) -> int:
        """1 is the head of the line."""
        return self.ahead + 1


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
        """Differs when the order, or roughly its place, or its outlook differs."""
        if self.place is None:
            return str(self.version)
        marks = f"{self.place.outlook[0]}{'p' if self.place.is_paused else ''}"
        return f"{self.version}-{_coarse(self.place.ahead)}{marks}"


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


TIER_AHEAD = """
    SELECT item.mates + near.orders AS orders, item.mates_want + near.wanted AS wanted, stock.free,
           tier.quantity - tier.sold AS unsold, tier.is_paused, tier.service_rate,
           extract(epoch FROM now() - greatest(tier.decided_at, item.since))::float AS still_seconds,
           tier.decided_until, tier.withdrawn,
           -- Where too little is free anyway, nobody need be asked.
           CASE WHEN stock.free < item.quantity THEN 0 ELSE (
               SELECT coalesce(sum(first.quantity), 0) FROM (
                   SELECT entry.quantity FROM waitlist AS entry
                   WHERE entry.tier_id = item.tier_id AND entry.status = 'waiting' AND entry.sequence < item.sequence
                     AND (entry.quantity <= stock.free OR NOT event.skips_large_groups)
                   ORDER BY entry.sequence LIMIT :most
               ) AS first
           ) END AS entries_want
    FROM ticket_tiers AS tier
    JOIN events AS event ON event.id = tier.event_id
    CROSS JOIN LATERAL (SELECT tier.quantity - tier.sold - tier.reserved AS free) AS stock
    CROSS JOIN LATERAL (
        SELECT count(*) AS orders, coalesce(sum(ahead.quantity), 0) AS wanted FROM (
            SELECT other.quantity FROM order_items AS other
            WHERE other.tier_id = item.tier_id AND other.sequence < item.sequence
              AND other.inventory_state = 'queued' AND other.desired_state IS NULL
            ORDER BY other.sequence LIMIT :most
        ) AS ahead
    ) AS near
    WHERE tier.id = item.tier_id LIMIT 1
"""
"""The tier as an `item` in its line finds it, to be joined laterally; its `mates` go first too, but are not seen yet.

The limit says nothing that the key does not say; it keeps the planner from reading all tiers for a few.
"""
_FIND_SPOTS = text(f"""
    SELECT item.order_id, item.tier_id, item.sequence, item.quantity, tier.*
    FROM (
        SELECT order_id, tier_id, order_items.sequence, quantity, created_at AS since, 0 AS mates, 0 AS mates_want
        FROM order_items JOIN orders ON orders.id = order_id
        WHERE order_id = ANY(:order_ids) AND inventory_state = 'queued' AND desired_state IS NULL
    ) AS item
    CROSS JOIN LATERAL ({TIER_AHEAD}) AS tier
""")  # noqa: S608 a text of ours


def find_spots(session: Session, order_ids: Sequence[UUID]) -> list[Spot]:
    """Return where orders wait, tier by tier; the time that takes for each has a bound, however long the lines are."""
    rows = session.execute(_FIND_SPOTS, {"order_ids": list(order_ids), "most": COUNTED})
    return [spot_in(row) for row in rows]


def spot_in(row: Row[Any]) -> Spot:
    """Return the spot that a row tells, whatever it tells beside it."""
    return Spot(
        order_id=row.order_id,
        tier_id=row.tier_id,
        sequence=row.sequence,
        quantity=row.quantity,
        ahead=Crowd(row.orders, row.wanted),
        entries_want=row.entries_want,
        free=row.free,
        unsold=row.unsold,
        is_paused=row.is_paused,
        service_rate=row.service_rate,
        still_seconds=row.still_seconds,
        decided_until=row.decided_until,
        withdrawn=row.withdrawn,
    )


def place_of(spots: Sequence[Spot]) -> Place | None:
    """Return the place of an order that waits in these spots, or None when no tier has it waiting."""
    if not spots:
        return None
    etas = [spot.eta_seconds for spot in spots]
    return Place(
        ahead=max(spot.ahead.orders for spot in spots),
        eta_seconds=None if None in etas else max(eta for eta in etas if eta is not None),
        is_paused=any(spot.is_paused for spot in spots),
        outlook=worst(spot.outlook for spot in spots),
    )
