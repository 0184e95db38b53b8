"""Invariants of the tiers, codes and doors: their counters, their owners, and the line before them.

Of a tier's public log only its length and its end are checked: the hashes in between are for the published checker.
"""

from sqlalchemy import text

from domain.invariants import heals
from domain.invariants.breaches import Invariant

_NEVER_OVERSOLD = text("""
    SELECT id, name, format('reserved %s and sold %s of %s', reserved, sold, quantity) AS fault
    FROM ticket_tiers
    WHERE event_id = ANY(:event_ids) AND (reserved < 0 OR sold < 0 OR reserved + sold > quantity)
    ORDER BY id LIMIT :most
""")

# Counters and items change in one transaction, so that every snapshot is exact.
_COUNTERS_EQUAL_ROWS = text("""
    WITH counted AS (
        SELECT item.tier_id,
            coalesce(sum(item.quantity) FILTER (WHERE item.inventory_state = 'reserved'), 0) AS reserved,
            coalesce(sum(item.quantity - item.returned) FILTER (WHERE item.inventory_state = 'sold'), 0) AS sold
        FROM orders JOIN order_items AS item ON item.order_id = orders.id
        WHERE orders.event_id = ANY(:event_ids)
        GROUP BY item.tier_id
    )
    SELECT tier.id, tier.name,
        format('reserved %s and sold %s, by its rows %s and %s', tier.reserved, tier.sold,
               coalesce(counted.reserved, 0), coalesce(counted.sold, 0)) AS fault,
        -- A recount that breaks the CHECK would stop the tier.
        coalesce(counted.reserved + counted.sold, 0) <= tier.quantity AS can_heal
    FROM ticket_tiers AS tier LEFT JOIN counted ON counted.tier_id = tier.id
    WHERE tier.event_id = ANY(:event_ids)
      AND (tier.reserved, tier.sold) <> (coalesce(counted.reserved, 0), coalesce(counted.sold, 0))
    ORDER BY tier.id LIMIT :most
""")

# Likewise: whoever changes an item that was bought with a code changes the code's counters with it.
_CODES_EQUAL_ROWS = text("""
    WITH counted AS (
        SELECT item.code_id, count(DISTINCT item.order_id) AS uses, sum(item.quantity - item.returned) AS tickets
        FROM codes JOIN order_items AS item ON item.code_id = codes.id
        WHERE codes.event_id = ANY(:event_ids)
          AND item.inventory_state IN ('reserved', 'sold') AND item.quantity > item.returned
        GROUP BY item.code_id
    )
    SELECT codes.id, codes.code AS name,
        format('%s uses and %s tickets, by its rows %s and %s', codes.uses, codes.tickets,
               coalesce(counted.uses, 0), coalesce(counted.tickets, 0)) AS fault,
        -- A recount cannot write what its CHECKs forbid.
        coalesce(counted.uses <= codes.max_uses, true) AND coalesce(counted.tickets <= codes.max_tickets, true)
            AS can_heal
    FROM codes LEFT JOIN counted ON counted.code_id = codes.id
    WHERE codes.event_id = ANY(:event_ids)
      AND (codes.uses, codes.tickets) <> (coalesce(counted.uses, 0), coalesce(counted.tickets, 0))
    ORDER BY codes.id LIMIT :most
""")

_TICKETS_WITHIN_SOLD = text("""
    WITH live AS (
        SELECT tier_id, count(*) AS tickets FROM tickets
        WHERE event_id = ANY(:event_ids) AND status IN ('valid', 'used')
        GROUP BY tier_id
    )
    SELECT tier.id, tier.name,
        format('%s live tickets, sold %s and to be sold %s', live.tickets, tier.sold, promised.seats) AS fault
    FROM live JOIN ticket_tiers AS tier ON tier.id = live.tier_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(item.quantity), 0) AS seats FROM order_items AS item
        WHERE item.tier_id = tier.id AND item.desired_state = 'sold' AND item.inventory_state = 'reserved'
    ) AS promised
    WHERE live.tickets > tier.sold + promised.seats
    ORDER BY tier.id LIMIT :most
""")

# Whoever had an answer before another's request began is decided before it. What was quarantined and put back into its
# place has been overtaken with reason.
_SERVED_IN_SEQUENCE = text("""
    SELECT waiting.id, waiting.number AS name,
        format('still waits for %s, accepted at %s, while %s, accepted at %s, was decided',
               tier.name, waiting.created_at, later.number, later.created_at) AS fault
    FROM ticket_tiers AS tier
    CROSS JOIN LATERAL (
        SELECT orders.id, orders.number, orders.created_at, item.sequence
        FROM order_items AS item JOIN orders ON orders.id = item.order_id
        WHERE item.tier_id = tier.id AND item.inventory_state = 'queued' AND item.desired_state IS NULL
          AND NOT EXISTS (
            SELECT FROM order_timeline AS line WHERE line.order_id = orders.id AND line.kind = 'quarantined')
        ORDER BY item.sequence LIMIT 1
    ) AS waiting
    CROSS JOIN LATERAL (
        SELECT orders.number, orders.created_at
        FROM orders JOIN order_items AS item ON item.order_id = orders.id AND item.tier_id = tier.id
        -- Ids begin with the time, so that the index leads to those who came later.
        WHERE orders.event_id = tier.event_id AND orders.id > waiting.id
          AND orders.created_at > waiting.created_at + :overlap AND item.sequence > waiting.sequence
          AND item.inventory_state IN ('reserved', 'sold', 'refused')
        LIMIT 1
    ) AS later
    WHERE tier.event_id = ANY(:event_ids) AND waiting.created_at < :now - :overlap
    ORDER BY waiting.id LIMIT :most
""")

_LINES_MOVE = text("""
    SELECT tier.id, tier.name,
        format('%s waits first, and nothing has moved since %s', first.number, first.since) AS fault
    FROM ticket_tiers AS tier JOIN events AS event ON event.id = tier.event_id
    CROSS JOIN LATERAL (
        SELECT orders.number, greatest(orders.created_at, tier.updated_at, event.updated_at) AS since
        FROM order_items AS item JOIN orders ON orders.id = item.order_id
        WHERE item.tier_id = tier.id AND item.inventory_state = 'queued' AND item.desired_state IS NULL
        ORDER BY item.sequence LIMIT 1
    ) AS first
    WHERE tier.event_id = ANY(:event_ids) AND first.since < :now - :patience
      AND (NOT tier.is_paused OR event.status <> 'published')
    ORDER BY tier.id LIMIT :most
""")

# The key is `tier_work.lock_key`: the random half of the id. PostgreSQL shows it in two halves.
_ONE_OWNER = text("""
    SELECT tier.id, tier.name, format('%s sessions hold its lock', count(lock.pid)) AS fault
    FROM ticket_tiers AS tier JOIN events AS event ON event.id = tier.event_id
    LEFT JOIN pg_locks AS lock ON lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
        AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (lock.classid::bigint << 32 | lock.objid::bigint)
            = (('x' || right(replace(tier.id::text, '-', ''), 16))::bit(64)::bigint & 9223372036854775807)
    WHERE tier.event_id = ANY(:event_ids) AND event.status = 'published'
    GROUP BY tier.id HAVING count(lock.pid) <> 1
    ORDER BY tier.id LIMIT :most
""")

# Entries and head are written in one transaction; no entry can be changed or deleted by the application.
_LOG_IS_WHOLE = text("""
    SELECT tier.id, tier.name,
        format('its head is at %s, its log has %s entries up to %s%s', tier.fairness_position, log.entries, log.last,
               CASE WHEN final.hash <> tier.fairness_hash THEN ', which ends otherwise' ELSE '' END) AS fault
    FROM ticket_tiers AS tier
    CROSS JOIN LATERAL (
        SELECT count(*) AS entries, coalesce(max(position), 0) AS last FROM fairness_entries WHERE tier_id = tier.id
    ) AS log
    LEFT JOIN fairness_entries AS final ON final.tier_id = tier.id AND final.position = tier.fairness_position
    WHERE tier.event_id = ANY(:event_ids)
      AND ((log.entries, log.last) <> (tier.fairness_position, tier.fairness_position)
           OR final.hash IS DISTINCT FROM tier.fairness_hash AND tier.fairness_position > 0)
    ORDER BY tier.id LIMIT :most
""")

# Scans, tickets and figures change in one transaction. A scan that let somebody in has its ticket, which has an index.
_FIGURES_EQUAL_SCANS = text("""
    SELECT event.id, event.title AS name,
        format('%s inside by the figures, %s by the scans', told.inside, seen.inside) AS fault
    FROM events AS event
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(inside), 0) AS inside FROM door_counts WHERE event_id = event.id
    ) AS told
    CROSS JOIN LATERAL (
        SELECT count(*) AS inside FROM tickets JOIN check_in_scans AS scan ON scan.ticket_id = tickets.id
        WHERE tickets.event_id = event.id AND scan.is_admitted AND scan.undone_at IS NULL
    ) AS seen
    WHERE event.id = ANY(:event_ids) AND told.inside <> seen.inside
    ORDER BY event.id LIMIT :most
""")

INVARIANTS = (
    Invariant("never_oversold", "No tier has given more than it has.", _NEVER_OVERSOLD),
    Invariant("counters_equal_rows", "A tier's counters are what its rows say.", _COUNTERS_EQUAL_ROWS, heals.recount),
    Invariant("codes_equal_rows", "A code's counters are what its rows say.", _CODES_EQUAL_ROWS, heals.recount_code),
    Invariant("tickets_within_sold", "No tier has more live tickets than it has sold.", _TICKETS_WITHIN_SOLD),
    Invariant("served_in_sequence", "Nobody is decided before those who came earlier.", _SERVED_IN_SEQUENCE),
    Invariant("log_is_whole", "A tier's public log is whole, up to its head.", _LOG_IS_WHOLE),
    Invariant("lines_move", "A line that is not paused moves.", _LINES_MOVE, heals.ring_tier),
    Invariant("figures_equal_scans", "The door's figures are what its scans say.", _FIGURES_EQUAL_SCANS),
    Invariant("one_owner", "Each tier on sale is served by exactly one allocator.", _ONE_OWNER, may_pass=True),
)
