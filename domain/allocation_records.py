"""The statements of an allocation round: each reads or writes a whole batch at once.

What is decided stands in `domain/allocation.py`.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from domain.rules.allocation import Refusal
from domain.rules.lifecycle import sources_of, status_of
from domain.rules.states import InventoryState, OrderStage

# Who asks for stock again comes last, when all that is coming back has come. One more than a batch is read, so that a
# tier which has just a batch is known to have no more, and has no second round that would find nothing.
_FIND_WORK = text("""
    SELECT item.id, item.order_id, item.tier_id, item.code_id, item.is_wish, item.waits,
           item.place > :batch AS is_left_over
    FROM unnest(CAST(:tier_ids AS uuid[])) AS turn (tier_id) CROSS JOIN LATERAL (
        (SELECT id, order_id, tier_id, code_id, true AS is_wish, inventory_state = 'queued' AS waits,
                row_number() OVER (ORDER BY desired_state = 'reserved', sequence) AS place
         FROM order_items
         WHERE tier_id = turn.tier_id AND desired_state IS NOT NULL
           AND (CAST(:only AS uuid[]) IS NULL OR id = ANY(CAST(:only AS uuid[])))
         ORDER BY desired_state = 'reserved', sequence LIMIT :batch + 1)
        UNION ALL
        (SELECT id, order_id, tier_id, code_id, false, true, row_number() OVER (ORDER BY sequence) AS place
         FROM order_items
         WHERE tier_id = turn.tier_id AND inventory_state = 'queued' AND desired_state IS NULL
           AND (CAST(:only AS uuid[]) IS NULL OR id = ANY(CAST(:only AS uuid[])))
         ORDER BY sequence LIMIT :batch + 1)
    ) AS item
""")


@dataclass(frozen=True, slots=True)
class Found:
    """Items that a round may look at, and the tiers that have more of them than it takes on."""

    items: list[Row[Any]] = field(default_factory=list)
    left_over: set[UUID] = field(default_factory=set)


def find_work(
    session: Session, tier_ids: Sequence[UUID], batch: int, only: Sequence[UUID] | None
) -> tuple[Found, Found]:
    """Return the items that somebody wants in another state, and the head of each line: not locked yet.

    Of each kind there are at most `batch` for each tier.
    """
    values = {"tier_ids": list(tier_ids), "batch": batch, "only": None if only is None else list(only)}
    wishes, line = Found(), Found()
    for row in session.execute(_FIND_WORK, values).all():
        found = wishes if row.is_wish else line
        if row.is_left_over:
            found.left_over.add(row.tier_id)
        else:
            found.items.append(row)
    return wishes, line


_LOCK_ORDERS = text("SELECT id FROM orders WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")


def lock_orders(session: Session, order_ids: Sequence[UUID]) -> None:
    """Lock the orders, sorted by id, against everybody else who moves them."""
    if order_ids:
        session.execute(_LOCK_ORDERS, {"ids": list(order_ids)})


_GRANT_WISHES = text("""
    WITH wished AS (
        SELECT id, inventory_state AS was, returned AS returned_before, desired_state AS wish FROM order_items
        WHERE id = ANY(:ids) AND desired_state IN ('sold', 'released')
    ), granted AS (
        UPDATE order_items AS item
        SET inventory_state = CASE
                WHEN wished.was IN ('queued', 'reserved', 'sold') AND wished.wish = 'released' THEN 'released'
                WHEN wished.was = 'reserved' AND wished.wish = 'sold' THEN 'sold'
                ELSE item.inventory_state
            END,
            returned = greatest(item.returned, item.desired_returned),
            desired_state = NULL, desired_returned = NULL
        FROM wished WHERE item.id = wished.id
        RETURNING item.order_id, item.tier_id, item.sequence, item.quantity, item.salt, item.code_id,
                  item.returned, item.inventory_state AS now_is, wished.was, wished.returned_before
    ), counted AS (
        SELECT granted.*,
               CASE WHEN was = 'reserved' THEN quantity ELSE 0 END AS was_reserved,
               CASE WHEN now_is = 'reserved' THEN quantity ELSE 0 END AS is_reserved,
               CASE WHEN was = 'sold' THEN quantity - returned_before ELSE 0 END AS was_sold,
               CASE WHEN now_is = 'sold' THEN quantity - returned ELSE 0 END AS is_sold
        FROM granted
    )
    SELECT item.order_id, item.tier_id, item.sequence, item.quantity, item.salt, item.code_id,
           orders.user_id, orders.created_at AS received_at,
           is_reserved - was_reserved AS reserved, is_sold - was_sold AS sold,
           was_reserved + was_sold - is_reserved - is_sold AS freed, was = 'queued' AND now_is = 'released' AS has_left
    FROM counted AS item JOIN orders ON orders.id = item.order_id
    ORDER BY item.sequence
""")


def grant_wishes(session: Session, item_ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Bring items to the state that others asked for; return by how much each changes `reserved` and `sold`.

    Items that ask for stock again are left to `read_reclaims`.
    """
    return session.execute(_GRANT_WISHES, {"ids": list(item_ids)}).all() if item_ids else []


_READ_RECLAIMS = text("""
    SELECT item.id, item.order_id, item.tier_id, item.sequence, item.quantity, item.inventory_state, item.salt,
           item.code_id, orders.user_id, orders.request_id, orders.created_at AS received_at
    FROM order_items AS item JOIN orders ON orders.id = item.order_id
    WHERE item.id = ANY(:ids) AND item.desired_state = 'reserved'
    ORDER BY item.sequence
""")


def read_reclaims(session: Session, item_ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Return those of these items that ask for stock again."""
    return session.execute(_READ_RECLAIMS, {"ids": list(item_ids)}).all() if item_ids else []


_DECIDE_RECLAIMS = text("""
    UPDATE order_items
    SET inventory_state = CASE WHEN id = ANY(:served) THEN 'reserved' ELSE inventory_state END, desired_state = NULL
    WHERE id = ANY(:ids) AND desired_state = 'reserved'
""")


def decide_reclaims(session: Session, item_ids: Sequence[UUID], served: Sequence[UUID]) -> None:
    """Reserve stock again for the items that are served; the others stay as they are, and ask no more."""
    session.execute(_DECIDE_RECLAIMS, {"ids": list(item_ids), "served": list(served)})


_COUNT_AGAIN = text("""
    SELECT coalesce(sum(quantity) FILTER (WHERE inventory_state = 'reserved'), 0) AS reserved,
           coalesce(sum(quantity - returned) FILTER (WHERE inventory_state = 'sold'), 0) AS sold
    FROM order_items WHERE tier_id = :tier_id
""")


def count_again(session: Session, tier_id: UUID) -> tuple[int, int]:
    """Return what the rows say is reserved and sold."""
    row = session.execute(_COUNT_AGAIN, {"tier_id": tier_id}).one()
    return int(row.reserved), int(row.sold)


_READ_LINE = text("""
    SELECT item.id, item.order_id, item.tier_id, item.sequence, item.quantity, item.salt, item.code_id,
           orders.user_id, orders.request_id, orders.created_at AS received_at,
           EXISTS (SELECT FROM order_items AS other WHERE other.order_id = item.order_id AND other.id <> item.id)
               AS has_siblings
    FROM order_items AS item JOIN orders ON orders.id = item.order_id
    WHERE item.id = ANY(:ids) AND item.inventory_state = 'queued' AND item.desired_state IS NULL
      AND orders.stage IN ('queued', 'partly_held')
    ORDER BY item.sequence
""")


def read_line(session: Session, item_ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Return those of the items that still wait, in sequence, now that their orders are locked."""
    return session.execute(_READ_LINE, {"ids": list(item_ids)}).all() if item_ids else []


_SET_STATE = text("""
    WITH changed AS (
        UPDATE order_items SET inventory_state = :state
        WHERE id = ANY(:ids) AND inventory_state = 'queued' AND desired_state IS NULL
        RETURNING tier_id, quantity
    )
    SELECT tier_id, sum(quantity) AS quantity FROM changed GROUP BY tier_id
""")


def set_state(session: Session, item_ids: Sequence[UUID], state: InventoryState) -> Sequence[Row[Any]]:
    """Move waiting items to a state; return how many tickets that were of each tier."""
    return session.execute(_SET_STATE, {"ids": list(item_ids), "state": state.value}).all() if item_ids else []


_FIND_SIBLINGS = text("""
    SELECT item.order_id, item.inventory_state, tier.requires_approval
    FROM order_items AS item JOIN ticket_tiers AS tier ON tier.id = item.tier_id
    WHERE item.order_id = ANY(:order_ids) AND item.id <> ALL(:known)
""")


def find_siblings(
    session: Session, order_ids: Sequence[UUID], known: Sequence[UUID]
) -> Mapping[UUID, Sequence[Row[Any]]]:
    """Return what these orders want besides the known items, by order."""
    siblings: dict[UUID, list[Row[Any]]] = defaultdict(list)
    if order_ids:
        for row in session.execute(_FIND_SIBLINGS, {"order_ids": list(order_ids), "known": list(known)}).all():
            siblings[row.order_id].append(row)
    return siblings


_HOLD = text("""
    WITH wanted AS (
        SELECT CAST(:stage AS text) AS stage, CAST(:now AS timestamptz) AS now,
               CAST(:expires_at AS timestamptz) AS expires_at, CAST(:limit_at AS timestamptz) AS limit_at
    ), moved AS (
        UPDATE orders
        SET stage = wanted.stage, status = :status,
            held_at = CASE WHEN wanted.stage = 'partly_held' THEN orders.held_at ELSE wanted.now END,
            -- The clock of a partly held order runs on.
            hold_expires_at = CASE WHEN wanted.stage = 'partly_held'
                                   THEN coalesce(orders.hold_expires_at, wanted.expires_at) ELSE wanted.expires_at END,
            hold_limit_at = CASE WHEN wanted.stage = 'held' THEN wanted.limit_at ELSE orders.hold_limit_at END
        FROM wanted
        WHERE orders.id = ANY(:ids) AND orders.stage = ANY(:sources)
        RETURNING orders.id, wanted.stage
    )
    INSERT INTO order_timeline (order_id, kind) SELECT id, stage FROM moved
""")


def hold(
    session: Session,
    order_ids: Sequence[UUID],
    stage: OrderStage,
    now: datetime,
    *,
    expires_at: datetime,
    limit_at: datetime,
) -> None:
    """Move orders to a stage in which stock is kept for them, and start its clock."""
    if order_ids:
        # A partly held order of which another tier was served stays partly held.
        sources = [source.value for source in (*sources_of(stage), stage)]
        values = {"stage": stage.value, "status": status_of(stage).value, "sources": sources, "ids": list(order_ids)}
        session.execute(_HOLD, {**values, "now": now, "expires_at": expires_at, "limit_at": limit_at})


_REFUSE = text("""
    WITH moved AS (
        UPDATE orders
        SET stage = 'closed', status = 'cancelled', reason = CAST(:reason AS text), cancelled_at = :now,
            hold_expires_at = NULL
        WHERE id = ANY(:ids) AND stage = ANY(:sources)
        RETURNING id
    )
    INSERT INTO order_timeline (order_id, kind, data)
    SELECT id, 'cancelled', CAST(:data AS jsonb) FROM moved
""")


def refuse(session: Session, order_ids: Sequence[UUID], refusal: Refusal, now: datetime) -> None:
    """Close orders that got nothing, with the reason."""
    if order_ids:
        sources = [source.value for source in sources_of(OrderStage.CLOSED)]
        reason = refusal.reason.value
        data = {"reason": reason} if refusal.limit is None else {"reason": reason, "limit": refusal.limit}
        values = {"ids": list(order_ids), "reason": reason, "data": json.dumps(data), "now": now, "sources": sources}
        session.execute(_REFUSE, values)


_RELEASE_REST = text("""
    UPDATE order_items SET desired_state = 'released'
    WHERE order_id = ANY(:order_ids) AND inventory_state IN ('queued', 'reserved')
    RETURNING tier_id
""")


def release_rest(session: Session, order_ids: Sequence[UUID]) -> set[UUID]:
    """Ask the tiers of ended orders to take back what they still keep; return which tiers those are."""
    if not order_ids:
        return set()
    return set(session.execute(_RELEASE_REST, {"order_ids": list(order_ids)}).scalars())


_QUARANTINE = text("""
    WITH moved AS (
        UPDATE orders SET stage = 'quarantined'
        WHERE id IN (SELECT order_id FROM order_items WHERE id = :item_id) AND stage IN ('queued', 'partly_held')
        RETURNING id
    ), told AS (
        INSERT INTO order_timeline (order_id, kind) SELECT id, 'quarantined' FROM moved
    )
    UPDATE order_items SET inventory_state = 'quarantined', desired_state = NULL
    WHERE id = :item_id AND inventory_state = 'queued'
    RETURNING order_id
""")


def quarantine(session: Session, item_id: UUID) -> UUID | None:
    """Set an order aside that makes its batch fail, so that the others are served; return the order's id."""
    return session.execute(_QUARANTINE, {"item_id": item_id}).scalar()
