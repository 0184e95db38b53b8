"""The counters of codes in a round of the tiers' consumers: locked at its beginning, written at its end.

Several tiers share a code, so that it is the one row for which two consumers may wait for each other. A round in which
nobody has a code asks nothing here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from domain.rules.codes import Allowance, Limits

Allowances = Mapping[UUID, Allowance]

_LOCK = text("""
    SELECT id, uses, tickets, max_uses, max_tickets, max_per_person FROM codes
    WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE
""")

# What an order has is what it keeps in stock, and what of its tickets did not go back. Which rows to read is said by
# their orders alone: the index of what a code has, or of what is held, would be the long way (docs/adr/0012).
_HELD = text("""
    SELECT item.code_id, item.sequence,
           CAST(coalesce(sum(item.quantity - item.returned) FILTER (
               WHERE item.inventory_state IN ('reserved', 'sold')), 0) AS integer) AS tickets
    FROM order_items AS item
    WHERE item.order_id = ANY(:order_ids)
    GROUP BY item.code_id, item.sequence
""")

# By code and person, as a person's part of a tier is (domain/person_limits.py). An item without a code finds nothing.
_HELD_BY_PERSON = text("""
    SELECT sought.code_id, sought.user_id, held.tickets
    FROM (SELECT DISTINCT code_id, user_id FROM order_items WHERE order_id = ANY(:order_ids)) AS sought
    CROSS JOIN LATERAL (
        SELECT CAST(sum(item.quantity - item.returned) FILTER (
                   WHERE item.inventory_state IN ('reserved', 'sold')) AS integer) AS tickets
        FROM order_items AS item
        WHERE item.code_id = sought.code_id AND item.user_id = sought.user_id
    ) AS held
    WHERE held.tickets > 0
""")

_WRITE = text("""
    UPDATE codes SET uses = it.uses, tickets = it.tickets
    FROM unnest(CAST(:ids AS uuid[]), CAST(:uses AS integer[]), CAST(:tickets AS integer[])) AS it (id, uses, tickets)
    WHERE codes.id = it.id AND (codes.uses, codes.tickets) <> (it.uses, it.tickets)
""")


def lock(session: Session, items: Sequence[Row[Any]]) -> Allowances:
    """Lock the codes of these items, by id, and return what each has given.

    It is called after the orders, their events and the tiers have been locked.
    """
    ids = list({item.code_id for item in items})
    if not ids:
        return {}
    rows = session.execute(_LOCK, {"ids": ids}).all()
    # Read after the lock was got: what others gave meanwhile is seen.
    order_ids = list({item.order_id for item in items})
    held = _read_held(session, order_ids)
    is_limited = any(row.max_per_person is not None for row in rows)
    by_person = count_by_person(session, order_ids) if is_limited else {}
    return {
        row.id: Allowance(
            Limits(row.max_uses, row.max_tickets, row.max_per_person),
            row.uses,
            row.tickets,
            held.get(row.id, {}),
            by_person.get(row.id, {}),
        )
        for row in rows
    }


def _read_held(session: Session, order_ids: Sequence[UUID]) -> Mapping[UUID, dict[int, int]]:
    found: dict[UUID, dict[int, int]] = defaultdict(dict)
    for row in session.execute(_HELD, {"order_ids": order_ids}):
        found[row.code_id][row.sequence] = row.tickets
    return found


def count_by_person(session: Session, order_ids: Sequence[UUID]) -> Mapping[UUID, dict[UUID, int]]:
    """Return how many tickets the people of these orders hold with the codes of these, by code and person.

    All that they hold with a code is counted, by whichever orders; who holds none is left out.
    """
    found: dict[UUID, dict[UUID, int]] = defaultdict(dict)
    for row in session.execute(_HELD_BY_PERSON, {"order_ids": order_ids}):
        found[row.code_id][row.user_id] = row.tickets
    return found


def give_back(allowances: Allowances, granted: Sequence[Row[Any]]) -> None:
    """Count what of these items came back: of holds that ended, and of tickets that were refunded."""
    for item in granted:
        if item.code_id is not None and item.freed:
            allowances[item.code_id].take(item.sequence, item.user_id, -item.freed)


def write(session: Session, allowances: Allowances) -> None:
    """Write the counters that have changed."""
    if allowances:
        values = {
            "ids": list(allowances),
            "uses": [code.uses for code in allowances.values()],
            "tickets": [code.tickets for code in allowances.values()],
        }
        session.execute(_WRITE, values)


_RECOUNT = text("""
    UPDATE codes SET uses = counted.uses, tickets = counted.tickets
    FROM (
        SELECT count(DISTINCT order_id) AS uses, coalesce(sum(quantity - returned), 0) AS tickets FROM order_items
        WHERE code_id = :code_id AND inventory_state IN ('reserved', 'sold') AND quantity > returned
    ) AS counted
    WHERE codes.id = :code_id
""")


def recount(session: Session, code_id: UUID) -> None:
    """Count again what the rows say was taken with a code; who takes or gives back waits meanwhile."""
    session.execute(_LOCK, {"ids": [code_id]})
    session.execute(_RECOUNT, {"code_id": code_id})
