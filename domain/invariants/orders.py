"""Invariants of orders and their items: amounts, stages, the timeline, time, and the confirmation's mail."""

from sqlalchemy import text

from domain.invariants import heals
from domain.invariants.breaches import Invariant
from domain.rules.lifecycle import CONFIRMED, HOLDING, status_of
from domain.rules.states import OrderStage as S
from domain.rules.states import OrderStatus

_PAID = frozenset({S.ISSUING, S.COMPLETE, S.CLOSED})

TOLD: dict[str, frozenset[S]] = {
    "accepted": frozenset({S.QUEUED}),
    "partly_held": frozenset({S.PARTLY_HELD}),
    "awaiting_approval": frozenset({S.AWAITING_APPROVAL}),
    "held": frozenset({S.HELD}),
    # A person may have put it back into the line.
    "quarantined": frozenset({S.QUARANTINED, S.QUEUED}),
    "offered": frozenset({S.OFFERED}),
    "offer_accepted": frozenset({S.AWAITING_APPROVAL, S.HELD}),
    "approved": frozenset({S.HELD}),
    "payment_opened": frozenset({S.AWAITING_PAYMENT}),
    "payment_action_required": frozenset({S.AWAITING_PAYMENT}),
    "payment_failed": frozenset({S.AWAITING_PAYMENT}),
    "payment_started": frozenset({S.PROCESSING}),
    "payment_delayed": frozenset({S.PAYMENT_DELAYED}),
    "expiring": frozenset({S.EXPIRING}),
    "confirmed": frozenset({S.ISSUING}),
    "tickets_issued": frozenset({S.COMPLETE}),
    "cancelled": frozenset({S.CLOSED}),
    # Of a part, or of all.
    "refunded": _PAID,
    "dispute_lost": _PAID,
}
"""The stages in which an order may stand after a line of its timeline; lines of other kinds tell of no stage."""


def _pairs(pairs: set[tuple[str, str]]) -> list[str]:
    return sorted(f"{one}/{other}" for one, other in pairs)


_LEGAL = _pairs({(stage, status_of(stage)) for stage in S} | {(S.CLOSED, OrderStatus.REFUNDED)})
_TOLD_PAIRS = _pairs({(kind, stage) for kind, stages in TOLD.items() for stage in stages})

_ORDERS_ADD_UP = text("""
    SELECT orders.id, orders.number AS name,
        format('total %s of %s + %s + %s (absorbed %s), its %s items say %s + %s + %s (absorbed %s)', orders.total,
            orders.subtotal, orders.fees, orders.tax, orders.absorbed_fees, count(item.id), sum(item.subtotal),
            sum(item.fees), sum(item.tax), sum(item.absorbed_fees)) AS fault
    FROM orders
    LEFT JOIN order_items AS item ON item.order_id = orders.id
    LEFT JOIN ticket_tiers AS tier ON tier.id = item.tier_id
    WHERE orders.event_id = ANY(:event_ids)
    GROUP BY orders.id
    HAVING (orders.subtotal, orders.fees, orders.tax, orders.absorbed_fees)
            IS DISTINCT FROM (sum(item.subtotal), sum(item.fees), sum(item.tax), sum(item.absorbed_fees))
        OR orders.total <> orders.subtotal + orders.fees + orders.tax
        OR NOT bool_and(item.sequence = orders.sequence AND tier.event_id = orders.event_id)
    ORDER BY orders.id LIMIT :most
""")

_STAGES_ARE_LEGAL = text("""
    SELECT id, number AS name,
        format('stage %s, status %s, reason %s, payment %s, confirmed at %s', stage, status, reason, payment_status,
               confirmed_at) AS fault
    FROM orders
    WHERE event_id = ANY(:event_ids)
      AND (stage || '/' || status <> ALL(:legal)
           OR status = 'confirmed' AND (confirmed_at IS NULL OR payment_status <> 'completed')
           OR status = 'pending' AND confirmed_at IS NOT NULL
           OR status = 'cancelled' AND reason IS NULL)
    ORDER BY id LIMIT :most
""").bindparams(legal=_LEGAL)

_TIMELINE_TELLS_STAGE = text("""
    SELECT orders.id, orders.number AS name,
        format('stage %s, and its timeline ends with %s', orders.stage, last.kind) AS fault
    FROM orders
    CROSS JOIN LATERAL (
        SELECT line.kind FROM order_timeline AS line
        WHERE line.order_id = orders.id AND line.kind = ANY(:telling)
        ORDER BY line.id DESC LIMIT 1
    ) AS last
    WHERE orders.event_id = ANY(:event_ids) AND last.kind || '/' || orders.stage <> ALL(:told)
    ORDER BY orders.id LIMIT :most
""").bindparams(telling=sorted(TOLD), told=_TOLD_PAIRS)

_ITEMS_FOLLOW_ORDERS = text("""
    SELECT item.id, orders.number AS name,
        format('%s, and an item is %s%s', orders.stage, item.inventory_state, ', to be ' || item.desired_state)
            AS fault,
        orders.stage IN ('issuing', 'complete') AND item.inventory_state = 'reserved'
            OR orders.stage = 'closed' AND item.inventory_state IN ('queued', 'reserved') AS can_heal
    FROM orders JOIN order_items AS item ON item.order_id = orders.id
    WHERE orders.event_id = ANY(:event_ids)
      AND NOT CASE
        WHEN orders.stage = 'queued' THEN item.inventory_state = 'queued' AND item.desired_state IS NULL
        WHEN orders.stage = 'partly_held'
            THEN item.inventory_state IN ('queued', 'reserved') AND item.desired_state IS NULL
        WHEN orders.stage = ANY(:confirmed) THEN coalesce(item.desired_state, item.inventory_state) = 'sold'
        WHEN orders.stage = 'quarantined'
            THEN item.inventory_state = 'quarantined' OR coalesce(item.desired_state, item.inventory_state) = 'released'
        WHEN orders.stage = 'closed'
            THEN coalesce(item.desired_state, item.inventory_state) IN ('released', 'refused', 'quarantined')
                -- A late payment asks for the stock again, while its clock runs.
                OR orders.hold_expires_at IS NOT NULL
                -- Where somebody went in, the seat is not free.
                OR item.inventory_state = 'sold' AND EXISTS (
                    SELECT FROM tickets WHERE tickets.order_item_id = item.id AND tickets.checked_in_at IS NOT NULL)
        ELSE item.inventory_state = 'reserved' AND item.desired_state IS NULL
      END
    ORDER BY item.id LIMIT :most
""").bindparams(confirmed=sorted(CONFIRMED))

_WISHES_ARE_GRANTED = text("""
    SELECT item.id, orders.number AS name,
        format('an item should be %s, and is %s since %s', item.desired_state, item.inventory_state,
               greatest(orders.updated_at, tier.updated_at)) AS fault
    FROM ticket_tiers AS tier
    JOIN order_items AS item ON item.tier_id = tier.id AND item.desired_state IS NOT NULL
    JOIN orders ON orders.id = item.order_id
    WHERE tier.event_id = ANY(:event_ids) AND greatest(orders.updated_at, tier.updated_at) < :now - :patience
    ORDER BY item.id LIMIT :most
""")

# The clock in the row was set by the stage's own rule; what is granted beyond it is the sweep's time to come round.
_ENDS_IN_TIME = text("""
    SELECT id, number AS name,
        CASE WHEN stage = 'quarantined' THEN 'was set aside, and waits for a person'
             WHEN stage = 'issuing' THEN format('waits for its pictures since %s', confirmed_at)
             WHEN hold_expires_at IS NULL THEN format('%s, and no clock runs', stage)
             ELSE format('%s, and its clock ended at %s', stage, hold_expires_at) END AS fault,
        stage = 'issuing' AS can_heal
    FROM orders
    WHERE event_id = ANY(:event_ids)
      AND (stage = ANY(:holding) AND hold_expires_at IS NULL
           OR hold_expires_at < :now - :patience
           OR stage = 'issuing' AND confirmed_at < :now - :patience
           OR stage = 'quarantined')
    ORDER BY id LIMIT :most
""").bindparams(holding=sorted(HOLDING))

_TICKETS_ARE_MAILED = text("""
    SELECT orders.id, orders.number AS name, 'has tickets, and no confirmation in the outbox' AS fault
    FROM orders
    WHERE orders.event_id = ANY(:event_ids) AND orders.status = 'confirmed'
      AND NOT EXISTS (SELECT FROM email_notifications AS mail WHERE mail.purpose = 'order_confirmed:' || orders.id)
    ORDER BY orders.id LIMIT :most
""")

INVARIANTS = (
    Invariant("orders_add_up", "An order's amounts are those of its items.", _ORDERS_ADD_UP),
    Invariant("stages_are_legal", "Stage, status and payment go together.", _STAGES_ARE_LEGAL),
    Invariant("timeline_tells_stage", "The timeline ends with where the order stands.", _TIMELINE_TELLS_STAGE),
    Invariant(
        "items_follow_orders", "Stock is kept exactly for orders that may.", _ITEMS_FOLLOW_ORDERS, heals.settle_item
    ),
    Invariant("wishes_are_granted", "What is asked of a tier is done.", _WISHES_ARE_GRANTED, heals.ring_for_item),
    Invariant("ends_in_time", "Every order has ended, or is inside its time.", _ENDS_IN_TIME, heals.ring_for_pictures),
    Invariant("tickets_are_mailed", "Whoever has tickets gets a mail.", _TICKETS_ARE_MAILED, heals.write_confirmation),
)
