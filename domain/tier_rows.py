"""The tiers' own rows in a round of their consumer: locked at its beginning, written at its end.

The statements over orders and their items are in `domain/allocation_records.py`.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from domain.models import Event, TicketTier, Waitlist
from domain.rules.states import WaitlistStatus
from domain.turns import Turn


def lock(session: Session, tier_ids: Sequence[UUID]) -> list[Turn]:
    """Lock the events of these tiers, then the tiers, each kind by id."""
    of_these = TicketTier.id.in_(tier_ids)
    events = session.scalars(
        select(Event)
        .where(Event.id.in_(select(TicketTier.event_id).where(of_these)))
        .order_by(Event.id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    )
    by_id = {event.id: event for event in events}
    waits = exists().where(Waitlist.tier_id == TicketTier.id, Waitlist.status == WaitlistStatus.WAITING)
    tiers = session.execute(
        select(TicketTier, waits)
        .where(of_these)
        .order_by(TicketTier.id)
        .with_for_update(key_share=True, of=TicketTier)
        .execution_options(populate_existing=True)
    )
    return [Turn(by_id[tier.event_id], tier, has_entries) for tier, has_entries in tiers]


_COLUMNS = {
    "id": "uuid",
    "reserved": "integer",
    "sold": "integer",
    "quantity": "integer",
    "quantity_refusal": "text",
    "service_rate": "double precision",
    "decided_until": "bigint",
    "decided_at": "timestamptz",
    "withdrawn": "integer",
    "fairness_position": "bigint",
    "fairness_hash": "bytea",
}
_WRITE = text(f"""
    UPDATE ticket_tiers AS tier
    SET reserved = it.reserved, sold = it.sold, quantity = it.quantity, quantity_refusal = it.quantity_refusal,
        service_rate = it.service_rate, decided_until = it.decided_until, decided_at = it.decided_at,
        withdrawn = it.withdrawn, fairness_position = it.fairness_position, fairness_hash = it.fairness_hash,
        desired_quantity = NULL, recount_due = false
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMNS.items())})
        AS it ({", ".join(_COLUMNS)})
    WHERE tier.id = it.id
""")  # noqa: S608 names of ours


def write(session: Session, tiers: Sequence[TicketTier]) -> None:
    """Write what a round changes of its tiers, all at once: by themselves they would be written one after the other."""
    if tiers:
        values = {name: [getattr(tier, name) for tier in tiers] for name in _COLUMNS}
        session.execute(_WRITE, values)
    for tier in tiers:
        # Else the session would write them again, one after the other.
        session.expire(tier)
