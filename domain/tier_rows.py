"""The tiers' own rows in a round of their consumer: locked at its beginning, written at its end.

They are plain values: a round wants some columns of up to fifty tiers, and objects of a session would cost it more than
all else that it does for a tier. The statements over orders and their items are in `domain/allocation_records.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from domain.rules.states import EventStatus


@dataclass(frozen=True, slots=True)
class EventRow:
    """What a round reads of a tier's event (`Event`)."""

    id: UUID
    status: EventStatus
    ends_at: datetime
    skips_large_groups: bool

    @property
    def is_published(self) -> bool:
        """Whether its tiers are on sale."""
        return self.status is EventStatus.PUBLISHED


@dataclass(slots=True)
class TierRow:
    """What a round reads of a tier (`TicketTier`); what it may change of it stands first."""

    id: UUID
    reserved: int
    sold: int
    quantity: int
    quantity_refusal: str | None
    desired_quantity: int | None
    recount_due: bool
    service_rate: float | None
    decided_until: int
    decided_at: datetime | None
    withdrawn: int
    fairness_position: int
    fairness_hash: bytes
    event_id: UUID
    price: int
    max_per_person: int | None
    requires_approval: bool
    is_active: bool
    is_paused: bool
    sale_ends_at: datetime | None
    has_entries: bool
    """Whether anybody is on its waitlist."""

    @property
    def available(self) -> int:
        """How many tickets are free."""
        return self.quantity - self.sold - self.reserved


_LOCK_EVENTS = text("""
    SELECT id, status, ends_at, skips_large_groups FROM events
    WHERE id IN (SELECT event_id FROM ticket_tiers WHERE id = ANY(:tier_ids))
    ORDER BY id FOR SHARE
""")
_LOCK_TIERS = text(f"""
    SELECT {", ".join(field.name for field in fields(TierRow)[:-1])},
           EXISTS (SELECT FROM waitlist WHERE tier_id = tier.id AND status = 'waiting') AS has_entries
    FROM ticket_tiers AS tier WHERE id = ANY(:tier_ids)
    ORDER BY id FOR NO KEY UPDATE OF tier
""")  # noqa: S608 names of ours


def lock(session: Session, tier_ids: Sequence[UUID]) -> list[tuple[EventRow, TierRow]]:
    """Lock the events of these tiers, then the tiers, each kind by id."""
    values = {"tier_ids": list(tier_ids)}
    events = {
        row.id: EventRow(row.id, EventStatus(row.status), row.ends_at, row.skips_large_groups)
        for row in session.execute(_LOCK_EVENTS, values)
    }
    tiers = [TierRow(*row) for row in session.execute(_LOCK_TIERS, values)]
    return [(events[tier.event_id], tier) for tier in tiers]


_WRITTEN = {
    "id": "uuid",
    "reserved": "integer",
    "sold": "integer",
    "quantity": "integer",
    "quantity_refusal": "text",
    "desired_quantity": "integer",
    "recount_due": "boolean",
    "service_rate": "double precision",
    "decided_until": "bigint",
    "decided_at": "timestamptz",
    "withdrawn": "integer",
    "fairness_position": "bigint",
    "fairness_hash": "bytea",
}
_WRITE = text(f"""
    UPDATE ticket_tiers AS tier SET {", ".join(f"{name} = it.{name}" for name in _WRITTEN if name != "id")}
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _WRITTEN.items())})
        AS it ({", ".join(_WRITTEN)})
    WHERE tier.id = it.id
""")  # noqa: S608


def write(session: Session, tiers: Sequence[TierRow]) -> None:
    """Write what a round changes of its tiers, all at once."""
    if tiers:
        session.execute(_WRITE, {name: [getattr(tier, name) for tier in tiers] for name in _WRITTEN})
