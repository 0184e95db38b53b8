"""Which tiers have work, and who owns them: the questions that an allocator asks every second."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from domain.rules.sharing import Member

MEMBERS_CLASS = 0x5449434B
"""The first half of the two-part key that every allocator's session holds a shared advisory lock of."""
_MASK = (1 << 63) - 1


def lock_key(tier_id: UUID) -> int:
    """Return the number of a tier's advisory lock: the random half of its UUIDv7."""
    return tier_id.int & _MASK


_FIND_WANTED = text("""
    SELECT tier.id FROM ticket_tiers AS tier JOIN events AS event ON event.id = tier.event_id
    WHERE event.status = 'published'
       OR event.status IN ('cancelled', 'completed') AND EXISTS (
            SELECT FROM waitlist AS entry WHERE entry.tier_id = tier.id AND entry.status = 'waiting')
       OR EXISTS (SELECT FROM order_items AS item WHERE item.tier_id = tier.id
                  AND item.inventory_state = 'queued' AND item.desired_state IS NULL)
       OR EXISTS (SELECT FROM order_items AS item WHERE item.tier_id = tier.id AND item.desired_state IS NOT NULL)
       OR tier.desired_quantity IS NOT NULL OR tier.recount_due
""")


def find_wanted(session: Session) -> frozenset[UUID]:
    """Return the tiers that somebody should own: those on sale, and those with work left."""
    return frozenset(session.scalars(_FIND_WANTED))


def join(session: Session) -> None:
    """Count as an allocator for as long as this database session lives."""
    session.execute(text("SELECT pg_advisory_lock_shared(:members, 0)"), {"members": MEMBERS_CLASS})


@dataclass(frozen=True, slots=True)
class Ownership:
    """Which allocators there are, and which of them owns each tier."""

    me: Member
    owners: Mapping[UUID, Member | None]
    loads: Mapping[Member, int]
    """How many of these tiers each allocator owns."""


# A key of one part has the subid 1, one of two parts 2 (postgresql.org/docs/current/view-pg-locks.html).
_FIND_OWNERS = text("""
    SELECT pid, CASE objsubid WHEN 1 THEN (classid::bigint << 32) | objid::bigint END AS key, pg_backend_pid() AS me
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (objsubid = 1 OR objsubid = 2 AND classid = :members AND objid = 0)
""")


def find_owners(session: Session, tier_ids: Collection[UUID]) -> Ownership:
    """Return who owns each of these tiers now, as the server's table of locks has it; call `join` before."""
    rows = session.execute(_FIND_OWNERS, {"members": MEMBERS_CLASS}).all()
    by_key = {row.key: row.pid for row in rows if row.key is not None}
    owners = {tier_id: by_key.get(lock_key(tier_id)) for tier_id in tier_ids}
    loads = Counter({row.pid: 0 for row in rows if row.key is None})
    loads.update(owner for owner in owners.values() if owner is not None)
    return Ownership(rows[0].me, owners, loads)


# The rows come one by one, and none is locked beyond the limit: nothing here sorts or gathers them before it.
_TRY_LOCKS = text("""
    SELECT tier_id FROM unnest(CAST(:tier_ids AS uuid[]), CAST(:keys AS bigint[])) AS wanted (tier_id, key)
    WHERE pg_try_advisory_lock(key) LIMIT :most
""")


def adopt(session: Session, tier_ids: Collection[UUID], *, most: int) -> frozenset[UUID]:
    """Take the locks of at most so many of these tiers that nobody owns, as long as this database session lives."""
    if not tier_ids or not most:
        return frozenset()
    keys = [lock_key(tier_id) for tier_id in tier_ids]
    return frozenset(session.scalars(_TRY_LOCKS, {"tier_ids": list(tier_ids), "keys": keys, "most": most}))


_GIVE_UP = text("SELECT pg_advisory_unlock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")


def give_up(session: Session, tier_ids: Collection[UUID]) -> None:
    """Let go of these tiers' locks."""
    if tier_ids:
        session.execute(_GIVE_UP, {"keys": [lock_key(tier_id) for tier_id in tier_ids]})


_FIND = text("""
    SELECT tier.id AS tier_id, line.head
    FROM ticket_tiers AS tier JOIN events AS event ON event.id = tier.event_id
    CROSS JOIN LATERAL (SELECT NOT tier.is_paused OR event.status <> 'published' AS moves) AS line_state
    LEFT JOIN LATERAL (
        SELECT min(item.sequence) AS head FROM order_items AS item
        WHERE item.tier_id = tier.id AND item.inventory_state = 'queued' AND item.desired_state IS NULL
          AND line_state.moves
    ) AS line ON true
    WHERE tier.id = ANY(:tier_ids)
      AND (line.head IS NOT NULL
           OR tier.desired_quantity IS NOT NULL OR tier.recount_due
           OR EXISTS (SELECT FROM order_items AS item WHERE item.tier_id = tier.id AND item.desired_state IS NOT NULL)
           OR line_state.moves AND EXISTS (
                SELECT FROM waitlist AS entry WHERE entry.tier_id = tier.id AND entry.status = 'waiting'
                AND (entry.quantity <= tier.quantity - tier.reserved - tier.sold
                     -- Nobody can be offered any more, and the entries are to be told so.
                     OR event.status <> 'published' OR NOT tier.is_active
                     OR event.ends_at <= now() OR tier.sale_ends_at <= now())))
""")


def find(session: Session, tier_ids: Collection[UUID]) -> Sequence[Row[Any]]:
    """Return those of the tiers that have work, with the first number in the line of each (None if nobody waits)."""
    return session.execute(_FIND, {"tier_ids": list(tier_ids)}).all() if tier_ids else []


_FIND_BATCH = text("""
    SELECT id, desired_state IS NOT NULL AS is_wish FROM order_items
    WHERE tier_id = :tier_id
      AND (desired_state IS NOT NULL OR inventory_state = 'queued' AND desired_state IS NULL)
    ORDER BY desired_state IS NULL, sequence LIMIT :batch
""")


def find_batch(session: Session, tier_id: UUID, batch: int) -> tuple[list[UUID], list[UUID]]:
    """Return the order items that the next round would look at: those wanted in another state, and those in line."""
    rows = session.execute(_FIND_BATCH, {"tier_id": tier_id, "batch": batch * 2}).all()
    return [row.id for row in rows if row.is_wish], [row.id for row in rows if not row.is_wish]
