"""Invariants of money: what was captured ends in tickets or in a refund, and the ledger says so.

Whether Stripe says so too is the statement's question (`domain/payments/statements.py`).
"""

from sqlalchemy import text

from domain.invariants import heals
from domain.invariants.breaches import Invariant
from domain.models.payments import OPEN_STATUSES

_OPEN = [status.value for status in OPEN_STATUSES]

_KEPT = """WITH kept AS (
        SELECT entry.order_id, sum(entry.amount) AS amount
        FROM orders JOIN ledger_entries AS entry ON entry.order_id = orders.id
        WHERE orders.event_id = ANY(:event_ids) AND entry.kind <> 'fee'
        GROUP BY entry.order_id
    )"""
"""What the ledger says is left of each order's money, fees aside."""

# What is left of the money after all refunds that are under way. A bank that disputes decides for itself, and where
# somebody went in the money of a closed order was earned.
_CAPTURED_IS_SETTLED = text(f"""
    {_KEPT}
    SELECT orders.id, orders.number AS name,
        format('%s, and keeps %s of %s %s, of which %s are on their way back', orders.stage, kept.amount, orders.total,
               orders.currency, pending.returning) AS fault
    FROM kept JOIN orders ON orders.id = kept.order_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(attempt.amount) FILTER (WHERE attempt.kind = 'refund'), 0) AS returning,
            coalesce(bool_or(attempt.kind = 'dispute'), false) AS is_disputed
        FROM payment_transactions AS attempt
        WHERE attempt.order_id = orders.id AND attempt.kind IN ('refund', 'dispute') AND attempt.status = ANY(:open)
    ) AS pending
    WHERE NOT pending.is_disputed
      AND CASE
        WHEN orders.status = 'confirmed' THEN kept.amount - pending.returning > orders.total
        -- A late payment asks its tiers for the stock again.
        WHEN orders.stage = 'closed' AND orders.hold_expires_at IS NOT NULL THEN false
        ELSE kept.amount > pending.returning AND NOT EXISTS (
            SELECT FROM tickets WHERE tickets.order_id = orders.id AND tickets.checked_in_at IS NOT NULL)
      END
    ORDER BY orders.id LIMIT :most
""").bindparams(open=_OPEN)  # noqa: S608 a statement of ours

_TICKETS_ARE_PAID = text("""
    SELECT orders.id, orders.number AS name,
        format('%s, with tickets for %s %s, and keeps %s', orders.stage, orders.total, orders.currency,
               coalesce(kept.amount, 0)) AS fault
    FROM orders
    CROSS JOIN LATERAL (
        SELECT sum(entry.amount) AS amount FROM ledger_entries AS entry
        WHERE entry.order_id = orders.id AND entry.kind <> 'fee'
    ) AS kept
    WHERE orders.event_id = ANY(:event_ids) AND orders.status = 'confirmed' AND orders.total > 0
      AND coalesce(kept.amount, 0) <= 0
      AND NOT EXISTS (
        SELECT FROM payment_transactions AS attempt
        WHERE attempt.order_id = orders.id AND attempt.kind = 'dispute' AND attempt.status = ANY(:open))
    ORDER BY orders.id LIMIT :most
""").bindparams(open=_OPEN)

_CONFIRMED_HAS_TICKETS = text("""
    SELECT orders.id, orders.number AS name,
        format('%s, bought %s, has %s tickets, of which %s live', orders.stage, bought.seats, found.tickets,
               found.live) AS fault
    FROM orders
    CROSS JOIN LATERAL (
        SELECT sum(item.quantity) AS seats FROM order_items AS item WHERE item.order_id = orders.id
    ) AS bought
    CROSS JOIN LATERAL (
        SELECT count(*) AS tickets, count(*) FILTER (WHERE ticket.status IN ('valid', 'used')) AS live
        FROM tickets AS ticket WHERE ticket.order_id = orders.id
    ) AS found
    WHERE orders.event_id = ANY(:event_ids)
      AND CASE WHEN orders.status = 'confirmed' THEN found.tickets IS DISTINCT FROM bought.seats OR found.live = 0
               ELSE found.live > 0 END
    ORDER BY orders.id LIMIT :most
""")

_REFUNDS_WITHIN_CAPTURED = text("""
    SELECT charge.id, orders.number AS name,
        format('%s of a charge of %s %s, which is %s, were refunded', refunded.amount, charge.amount, charge.currency,
               charge.status) AS fault
    FROM orders
    JOIN payment_transactions AS charge ON charge.order_id = orders.id AND charge.kind = 'charge'
    CROSS JOIN LATERAL (
        SELECT sum(refund.amount) AS amount FROM payment_transactions AS refund
        WHERE refund.parent_id = charge.id AND refund.kind = 'refund' AND refund.status = 'succeeded'
    ) AS refunded
    WHERE orders.event_id = ANY(:event_ids)
      AND refunded.amount > CASE WHEN charge.status = 'succeeded' THEN charge.amount ELSE 0 END
    ORDER BY charge.id LIMIT :most
""")

_LEDGER_EQUALS_ATTEMPTS = text("""
    SELECT attempt.id, orders.number AS name,
        format('a %s of %s %s is %s, and moved %s with fees of %s; the order is of %s %s with fees of %s', attempt.kind,
            attempt.amount, attempt.currency, attempt.status, booked.moved, -booked.fees, orders.total, orders.currency,
            orders.fees + orders.absorbed_fees) AS fault
    FROM orders
    JOIN payment_transactions AS attempt ON attempt.order_id = orders.id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(entry.amount) FILTER (WHERE entry.kind <> 'fee'), 0) AS moved,
            coalesce(sum(entry.amount) FILTER (WHERE entry.kind = 'fee'), 0) AS fees
        FROM ledger_entries AS entry WHERE entry.transaction_id = attempt.id
    ) AS booked
    CROSS JOIN LATERAL (
        SELECT CASE WHEN attempt.status = 'succeeded' THEN attempt.amount ELSE 0 END AS amount
    ) AS succeeded
    WHERE orders.event_id = ANY(:event_ids)
      AND (attempt.currency <> orders.currency OR CASE attempt.kind
        WHEN 'charge' THEN attempt.amount <> orders.total OR booked.moved <> succeeded.amount
            OR booked.fees <> CASE WHEN booked.moved = 0 THEN 0 ELSE -(orders.fees + orders.absorbed_fees) END
        WHEN 'refund' THEN booked.moved <> -succeeded.amount
        -- An inquiry takes nothing, and a bank may give back.
        ELSE booked.moved NOT IN (0, -attempt.amount)
      END)
    ORDER BY attempt.id LIMIT :most
""")

# A second charge is counted when its refund has come through.
_REFUNDED_IS_COUNTED = text(f"""
    {_KEPT}
    SELECT orders.id, orders.number AS name,
        format('%s of %s count as refunded, by the ledger %s are kept', orders.refunded, orders.total,
               coalesce(kept.amount, 0)) AS fault,
        kept.amount IS NOT NULL AS can_heal
    FROM orders LEFT JOIN kept ON kept.order_id = orders.id
    WHERE orders.event_id = ANY(:event_ids)
      AND orders.refunded
          <> least(orders.total, greatest(0, orders.total - coalesce(kept.amount, orders.total)))
      AND (orders.stage <> 'closed' OR orders.hold_expires_at IS NULL)
      AND NOT EXISTS (
        SELECT FROM payment_transactions AS attempt
        WHERE attempt.order_id = orders.id AND attempt.kind = 'refund' AND attempt.status = ANY(:open))
    ORDER BY orders.id LIMIT :most
""").bindparams(open=_OPEN)  # noqa: S608 a statement of ours

_ONE_LIVE_INTENT = text("""
    SELECT orders.id, orders.number AS name,
        format('%s charges are open at once: %s', count(*), string_agg(attempt.id::text, ', ')) AS fault
    FROM orders JOIN payment_transactions AS attempt ON attempt.order_id = orders.id
    WHERE orders.event_id = ANY(:event_ids) AND attempt.kind = 'charge' AND attempt.status = ANY(:open)
    GROUP BY orders.id HAVING count(*) > 1
    ORDER BY orders.id LIMIT :most
""").bindparams(open=_OPEN)

INVARIANTS = (
    Invariant("captured_is_settled", "What was captured ends in tickets or in a refund.", _CAPTURED_IS_SETTLED),
    Invariant("tickets_are_paid", "Whoever has tickets has paid for them.", _TICKETS_ARE_PAID),
    Invariant(
        "confirmed_has_tickets", "A confirmed order has a ticket per seat, another none.", _CONFIRMED_HAS_TICKETS
    ),
    Invariant("refunds_within_captured", "No more goes back than came in.", _REFUNDS_WITHIN_CAPTURED),
    Invariant("ledger_equals_attempts", "The ledger holds what the attempts moved.", _LEDGER_EQUALS_ATTEMPTS),
    Invariant("refunded_is_counted", "An order knows what went back.", _REFUNDED_IS_COUNTED, heals.count_refunded),
    Invariant("one_live_intent", "An order can be paid in one way at a time.", _ONE_LIVE_INTENT),
)
