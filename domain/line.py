"""Where an order stands in its tiers' lines, and whether it has moved: the cheap questions of a polling client."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from domain.models import Order
from domain.rules.lifecycle import WAITING
from domain.rules.states import OrderStage


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


@dataclass(frozen=True, slots=True)
class Pulse:
    """What tells whether an order has moved since somebody last looked."""

    buyer_id: UUID
    version: int
    stage: OrderStage
    place: Place | None

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
    """Return the order's pulse, or None if there is no such order."""
    row = session.execute(select(Order.user_id, Order.version, Order.stage).where(Order.id == order_id)).one_or_none()
    if row is None:
        return None
    place = find_place(session, order_id) if row.stage in WAITING else None
    return Pulse(row.user_id, row.version, row.stage, place)


_FIND_PLACE = text("""
    SELECT tier.is_paused, tier.service_rate, (
        SELECT count(*) FROM order_items AS other
        WHERE other.tier_id = item.tier_id AND other.sequence < item.sequence
          AND other.inventory_state = 'queued' AND other.desired_state IS NULL
    ) AS ahead
    FROM order_items AS item JOIN ticket_tiers AS tier ON tier.id = item.tier_id
    WHERE item.order_id = :order_id AND item.inventory_state = 'queued' AND item.desired_state IS NULL
""")


def find_place(session: Session, order_id: UUID) -> Place | None:
    """Return where the order waits, or None when no tier has it waiting."""
    rows = session.execute(_FIND_PLACE, {"order_id": order_id}).all()
    if not rows:
        return None
    is_paused = any(row.is_paused for row in rows)
    known = not is_paused and all(row.service_rate for row in rows)
    eta = max(row.ahead / row.service_rate for row in rows) if known else None
    return Place(max(row.ahead for row in rows), eta, is_paused)
