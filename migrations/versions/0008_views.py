"""Views for the questions that people ask often, and materialized ones for analytics.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Per tier: the counters as they stand, and the money of orders that were paid. A refund belongs to an order; over
# several tiers it is spread by their share of the total.
EVENT_SALES = """
CREATE VIEW event_sales AS
SELECT
    tier.event_id,
    tier.id AS tier_id,
    tier.name AS tier_name,
    event.currency,
    tier.price,
    tier.quantity,
    tier.sold,
    tier.reserved,
    tier.quantity - tier.sold - tier.reserved AS available,
    coalesce(paid.orders, 0) AS orders,
    coalesce(paid.gross, 0)::bigint AS gross,
    coalesce(paid.refunded, 0)::bigint AS refunded
FROM ticket_tiers AS tier
JOIN events AS event ON event.id = tier.event_id
LEFT JOIN (
    SELECT
        ord.event_id,
        item.tier_id,
        count(*) AS orders,
        sum(item.subtotal + item.fees + item.tax) AS gross,
        sum(round(ord.refunded * (item.subtotal + item.fees + item.tax)::numeric / nullif(ord.total, 0))) AS refunded
    FROM orders AS ord
    JOIN order_items AS item ON item.order_id = ord.id
    WHERE ord.payment_status IN ('completed', 'refunded')
    GROUP BY ord.event_id, item.tier_id
) AS paid ON paid.event_id = tier.event_id AND paid.tier_id = tier.id;
"""

# What a promoter sees of each order; the lateral join keeps a page of it as cheap as a page of orders.
ORDER_OVERVIEW = """
CREATE VIEW order_overview AS
SELECT
    ord.id AS order_id,
    ord.number,
    ord.sequence,
    ord.event_id,
    event.promoter_id,
    event.title AS event_title,
    ord.user_id,
    coalesce(ord.billing_name, btrim(buyer.first_name || ' ' || buyer.last_name)) AS buyer_name,
    coalesce(ord.billing_email, buyer.email) AS buyer_email,
    ord.status,
    ord.stage,
    ord.reason,
    ord.payment_status,
    ord.source,
    contents.tickets,
    contents.tiers,
    ord.currency,
    ord.subtotal,
    ord.fees,
    ord.absorbed_fees,
    ord.tax,
    ord.total,
    ord.refunded,
    ord.created_at,
    ord.confirmed_at,
    ord.cancelled_at,
    ord.refunded_at
FROM orders AS ord
JOIN events AS event ON event.id = ord.event_id
JOIN users AS buyer ON buyer.id = ord.user_id
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(item.quantity), 0)::integer AS tickets,
        string_agg(item.quantity || ' x ' || tier.name, ', ' ORDER BY tier.sort_order, tier.id) AS tiers
    FROM order_items AS item
    JOIN ticket_tiers AS tier ON tier.id = item.tier_id
    WHERE item.order_id = ord.id
) AS contents;
"""

# Who may come in, and who is in already; cancelled and refunded tickets are no longer anybody's way in.
DOOR_LIST = """
CREATE VIEW door_list AS
SELECT
    ticket.event_id,
    ticket.id AS ticket_id,
    ticket.code,
    ticket.code_version,
    ticket.attendee_name,
    ticket.attendee_email,
    tier.name AS tier_name,
    ord.number AS order_number,
    ticket.status,
    ticket.blocked_at IS NOT NULL AS is_blocked,
    ticket.checked_in_at
FROM tickets AS ticket
JOIN ticket_tiers AS tier ON tier.id = ticket.tier_id
JOIN orders AS ord ON ord.id = ticket.order_id
WHERE ticket.status IN ('valid', 'used');
"""

# The counters beside what the rows say: equal at any commit, or somebody wrote past the tier's consumer.
TIER_COUNTERS = """
CREATE VIEW tier_counters AS
SELECT
    tier.id AS tier_id,
    tier.event_id,
    tier.quantity,
    tier.reserved,
    tier.sold,
    coalesce(counted.reserved, 0)::integer AS counted_reserved,
    coalesce(counted.sold, 0)::integer AS counted_sold
FROM ticket_tiers AS tier
LEFT JOIN (
    SELECT
        tier_id,
        sum(quantity) FILTER (WHERE inventory_state = 'reserved') AS reserved,
        sum(quantity) FILTER (WHERE inventory_state = 'sold') AS sold
    FROM order_items
    GROUP BY tier_id
) AS counted ON counted.tier_id = tier.id;
"""

# The money of each order that had any, summed from the ledger, beside the tickets that stand for it.
ORDER_BALANCE = """
CREATE VIEW order_balance AS
SELECT
    ord.id AS order_id,
    ord.event_id,
    ord.status,
    ord.currency,
    ord.total,
    ledger.charged,
    ledger.refunded,
    ledger.disputed,
    ledger.fees,
    (SELECT count(*) FROM tickets WHERE tickets.order_id = ord.id AND status IN ('valid', 'used')) AS live_tickets
FROM orders AS ord
JOIN (
    SELECT
        order_id,
        coalesce(sum(amount) FILTER (WHERE kind = 'charge'), 0)::bigint AS charged,
        coalesce(-sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunded,
        coalesce(-sum(amount) FILTER (WHERE kind IN ('dispute', 'reversal')), 0)::bigint AS disputed,
        coalesce(-sum(amount) FILTER (WHERE kind = 'fee'), 0)::bigint AS fees
    FROM ledger_entries
    GROUP BY order_id
) AS ledger ON ledger.order_id = ord.id;
"""

# The unique index of each materialized view is what lets REFRESH … CONCURRENTLY leave its readers alone.
SALES_BY_HOUR = """
CREATE MATERIALIZED VIEW sales_by_hour AS
SELECT
    ord.event_id,
    item.tier_id,
    date_trunc('hour', ord.confirmed_at, 'UTC') AS hour,
    count(*) AS orders,
    sum(item.quantity)::bigint AS tickets,
    sum(item.subtotal + item.fees + item.tax)::bigint AS gross
FROM orders AS ord
JOIN order_items AS item ON item.order_id = ord.id
WHERE ord.confirmed_at IS NOT NULL
GROUP BY ord.event_id, item.tier_id, date_trunc('hour', ord.confirmed_at, 'UTC');

CREATE UNIQUE INDEX uq_sales_by_hour ON sales_by_hour (event_id, tier_id, hour);
"""

# How far an event's orders came; each number is a part of the one before it.
ORDER_FUNNEL = """
CREATE MATERIALIZED VIEW order_funnel AS
SELECT
    ord.event_id,
    count(*) AS accepted,
    count(ord.held_at) AS held,
    count(*) FILTER (WHERE ord.confirmed_at IS NOT NULL) AS paid,
    count(*) FILTER (WHERE ticketed.complete) AS issued,
    count(*) FILTER (WHERE ticketed.complete AND mail.delivered_at IS NOT NULL) AS delivered
FROM orders AS ord
LEFT JOIN (
    SELECT order_id, bool_and(qr_payload IS NOT NULL) AS complete
    FROM tickets
    GROUP BY order_id
) AS ticketed ON ticketed.order_id = ord.id
LEFT JOIN email_notifications AS mail ON mail.purpose = 'order_confirmed:' || ord.id
GROUP BY ord.event_id;

CREATE UNIQUE INDEX uq_order_funnel ON order_funnel (event_id);
"""

REFUSALS_BY_REASON = """
CREATE MATERIALIZED VIEW refusals_by_reason AS
SELECT
    ord.event_id,
    item.tier_id,
    ord.reason,
    count(*) AS orders,
    sum(item.quantity)::bigint AS tickets
FROM orders AS ord
JOIN order_items AS item ON item.order_id = ord.id
WHERE ord.status = 'cancelled'
GROUP BY ord.event_id, item.tier_id, ord.reason;

CREATE UNIQUE INDEX uq_refusals_by_reason ON refusals_by_reason (event_id, tier_id, reason);
"""


def upgrade() -> None:
    op.execute(EVENT_SALES)
    op.execute(ORDER_OVERVIEW)
    op.execute(DOOR_LIST)
    op.execute(TIER_COUNTERS)
    op.execute(ORDER_BALANCE)
    op.execute(SALES_BY_HOUR)
    op.execute(ORDER_FUNNEL)
    op.execute(REFUSALS_BY_REASON)


def downgrade() -> None:
    op.execute("DROP MATERIALIZED VIEW refusals_by_reason, order_funnel, sales_by_hour")
    op.execute("DROP VIEW order_balance, tier_counters, door_list, order_overview, event_sales")
