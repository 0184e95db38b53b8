"""The statements that write accepted purchases down, for any number of them at once. What they mean is in orders.py."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from domain.line import COUNTED, TIER_AHEAD

_JSON: TypeAdapter[Any] = TypeAdapter(Any)

# Sequence numbers are drawn in the order in which the purchases are given.
_INSERT = text(f"""
    WITH given AS MATERIALIZED (
        SELECT * FROM ROWS FROM (jsonb_to_recordset(CAST(:orders AS jsonb)) AS (
            id uuid, user_id uuid, event_id uuid, currency text, subtotal bigint, fees bigint, absorbed_fees bigint,
            tax bigint, total bigint, billing_name text, billing_email text, billing_address jsonb,
            idempotency_key text, idempotency_fingerprint text, request_id text, items jsonb
        )) WITH ORDINALITY
    ), placed AS (
        INSERT INTO orders (id, user_id, event_id, currency, subtotal, fees, absorbed_fees, tax, total, billing_name,
                            billing_email, billing_address, idempotency_key, idempotency_fingerprint, request_id)
        SELECT id, user_id, event_id, currency, subtotal, fees, absorbed_fees, tax, total, billing_name,
               billing_email, billing_address, idempotency_key, idempotency_fingerprint, request_id
        FROM given
        WHERE :most_waiting = 0 OR :most_waiting > (
            SELECT count(*) FROM orders AS other
            WHERE other.user_id = given.user_id AND other.event_id = given.event_id
              AND other.stage IN ('queued', 'partly_held')
        )
        ORDER BY ordinality
        ON CONFLICT (user_id, idempotency_key) DO NOTHING
        RETURNING id, sequence, number, version, created_at
    ), lined AS (
        INSERT INTO order_items (id, order_id, user_id, sequence, tier_id, quantity, unit_price, subtotal, fees,
                                 absorbed_fees, tax, attendees, salt, code_id)
        SELECT item.id, placed.id, given.user_id, placed.sequence, item.tier_id, item.quantity, item.unit_price,
               item.subtotal, item.fees, item.absorbed_fees, item.tax, item.attendees, item.salt, item.code_id
        FROM placed JOIN given ON given.id = placed.id, jsonb_to_recordset(given.items)
            AS item (id uuid, tier_id uuid, quantity int, unit_price bigint, subtotal bigint, fees bigint,
                     absorbed_fees bigint, tax bigint, attendees jsonb, salt uuid, code_id uuid)
        RETURNING order_id, tier_id, sequence, quantity
    ), told AS (
        INSERT INTO order_timeline (order_id, kind) SELECT id, 'accepted' FROM placed
        RETURNING order_id, at AS accepted_at
    )
    SELECT item.order_id, number, version, created_at, accepted_at, item.tier_id, item.sequence, item.quantity, tier.*
    FROM (
        SELECT *, now() AS since, count(*) OVER mates - 1 AS mates, sum(quantity) OVER mates - quantity AS mates_want
        FROM lined WINDOW mates AS (PARTITION BY tier_id ORDER BY sequence)
    ) AS item
    JOIN placed ON placed.id = item.order_id
    JOIN told ON told.order_id = item.order_id
    CROSS JOIN LATERAL ({TIER_AHEAD}) AS tier
""")  # noqa: S608 a text of ours


def insert(
    session: Session, orders: Sequence[Mapping[str, Any]], *, most_waiting: int
) -> dict[UUID, Sequence[Row[Any]]]:
    """Insert orders, their items and the first lines of their timelines; return a row per item, by order.

    Left out are those whose keys are taken, and those of people who have `most_waiting` undecided orders for the event
    already; with 0 nobody has too many. A row tells the item's spot (`line.spot_in`) as well: what was committed when
    the statement began is ahead, and the statement's own orders with lower numbers.
    """
    values = {"orders": _JSON.dump_json(orders).decode(), "most_waiting": most_waiting, "most": COUNTED}
    placed: dict[UUID, list[Row[Any]]] = defaultdict(list)
    for row in session.execute(_INSERT, values):
        placed[row.order_id].append(row)
    return dict(placed)


_FIND_KEYS = text("""
    SELECT orders.user_id, orders.idempotency_key, orders.id, orders.idempotency_fingerprint
    FROM unnest(CAST(:user_ids AS uuid[]), CAST(:keys AS text[])) AS sought (user_id, key)
    JOIN orders ON orders.user_id = sought.user_id AND orders.idempotency_key = sought.key
""")


def find_keys(session: Session, keys: Sequence[tuple[UUID, str]]) -> dict[tuple[UUID, str], Row[Any]]:
    """Return the id and fingerprint of the orders that stand for these users' keys."""
    sought = {"user_ids": [user_id for user_id, _ in keys], "keys": [key for _, key in keys]}
    return {(row.user_id, row.idempotency_key): row for row in session.execute(_FIND_KEYS, sought)}
