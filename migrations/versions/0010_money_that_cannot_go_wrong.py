"""Refunds by ticket and by policy, stock for late payments, disputes, connected accounts, the feed, statements.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE order_items
    ADD COLUMN returned integer NOT NULL DEFAULT 0,
    ADD COLUMN desired_returned integer,
    ADD CONSTRAINT ck_order_items_returned CHECK (returned BETWEEN 0 AND quantity),
    ADD CONSTRAINT ck_order_items_desired_returned CHECK (desired_returned BETWEEN 0 AND quantity),
    DROP CONSTRAINT ck_order_items_desired_state_wish,
    ADD CONSTRAINT ck_order_items_desired_state_wish CHECK (desired_state IN ('sold', 'released', 'reserved'));

ALTER TABLE tickets
    ADD COLUMN refund_id uuid,
    ADD CONSTRAINT fk_tickets_refund_id FOREIGN KEY (refund_id) REFERENCES payment_transactions (id);

ALTER TABLE payment_transactions ADD COLUMN returns_fee boolean NOT NULL DEFAULT true;

ALTER TABLE webhook_inbox ADD COLUMN account text;

ALTER TABLE events
    ADD COLUMN returns_fees boolean NOT NULL DEFAULT true,
    ADD COLUMN buyer_refund_hours integer,
    ADD CONSTRAINT ck_events_buyer_refund_hours CHECK (buyer_refund_hours >= 0);

ALTER TABLE promoters
    ADD COLUMN returns_fees boolean,
    ADD COLUMN stripe_account_read_at timestamptz,
    ADD COLUMN stripe_disabled_reason text;
"""

TABLES = """
CREATE TABLE payment_feed (
    provider text NOT NULL,
    last_event_id text,
    read_until timestamptz NOT NULL,
    CONSTRAINT pk_payment_feed PRIMARY KEY (provider)
);

CREATE TABLE statements (
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    made_at timestamptz,
    body jsonb,
    difference bigint,
    CONSTRAINT pk_statements PRIMARY KEY (id),
    CONSTRAINT fk_statements_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT ck_statements_difference CHECK (difference >= 0),
    CONSTRAINT ck_statements_made_whole CHECK ((made_at IS NULL) = (body IS NULL)),
    CONSTRAINT ck_statements_made_with_difference CHECK ((made_at IS NULL) = (difference IS NULL))
);

-- GET /events/{id}/statement: the last one that was made.
CREATE INDEX ix_statements_event_id_made_at ON statements (event_id, made_at);
-- One under way per event, and the sweep for those.
CREATE UNIQUE INDEX uq_statements_under_way ON statements (event_id) WHERE made_at IS NULL;
"""

# A ticket that was refunded singly is nobody's seat any more.
TIER_COUNTERS = """
CREATE OR REPLACE VIEW tier_counters AS
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
        sum(quantity - returned) FILTER (WHERE inventory_state = 'sold') AS sold
    FROM order_items
    GROUP BY tier_id
) AS counted ON counted.tier_id = tier.id;
"""

TIER_COUNTERS_BEFORE = """
CREATE OR REPLACE VIEW tier_counters AS
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

# Nor does a ticket open a door whose refund was asked for.
DOOR_LIST = """
CREATE OR REPLACE VIEW door_list AS
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
    ticket.blocked_at IS NOT NULL OR ticket.refund_id IS NOT NULL AS is_blocked,
    ticket.checked_in_at
FROM tickets AS ticket
JOIN ticket_tiers AS tier ON tier.id = ticket.tier_id
JOIN orders AS ord ON ord.id = ticket.order_id
WHERE ticket.status IN ('valid', 'used');
"""

DOOR_LIST_BEFORE = """
CREATE OR REPLACE VIEW door_list AS
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

# What was reversed belongs to what it reverses: a refund that came back, or a dispute that was won.
ORDER_BALANCE = """
CREATE OR REPLACE VIEW order_balance AS
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
        entry.order_id,
        coalesce(sum(entry.amount) FILTER (WHERE entry.kind = 'charge'), 0)::bigint AS charged,
        coalesce(-sum(entry.amount) FILTER (WHERE attempt.kind = 'refund' AND entry.kind <> 'fee'), 0)::bigint AS refunded,
        coalesce(-sum(entry.amount) FILTER (WHERE attempt.kind = 'dispute' AND entry.kind <> 'fee'), 0)::bigint AS disputed,
        coalesce(-sum(entry.amount) FILTER (WHERE entry.kind = 'fee'), 0)::bigint AS fees
    FROM ledger_entries AS entry
    JOIN payment_transactions AS attempt ON attempt.id = entry.transaction_id
    GROUP BY entry.order_id
) AS ledger ON ledger.order_id = ord.id;
"""

ORDER_BALANCE_BEFORE = """
CREATE OR REPLACE VIEW order_balance AS
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

BACK = """
-- What a single refund gave back is counted in whole items again: the consumer corrects the tiers it concerns.
UPDATE ticket_tiers SET recount_due = true
WHERE id IN (SELECT tier_id FROM order_items WHERE returned > 0);

-- Stock that was still being asked for again stays where it is.
UPDATE order_items SET desired_state = NULL WHERE desired_state = 'reserved';

ALTER TABLE promoters DROP COLUMN stripe_disabled_reason, DROP COLUMN stripe_account_read_at, DROP COLUMN returns_fees;
ALTER TABLE events DROP COLUMN buyer_refund_hours, DROP COLUMN returns_fees;
ALTER TABLE webhook_inbox DROP COLUMN account;
ALTER TABLE payment_transactions DROP COLUMN returns_fee;
ALTER TABLE tickets DROP COLUMN refund_id;
ALTER TABLE order_items
    DROP CONSTRAINT ck_order_items_desired_state_wish,
    ADD CONSTRAINT ck_order_items_desired_state_wish CHECK (desired_state IN ('sold', 'released')),
    DROP COLUMN desired_returned,
    DROP COLUMN returned;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(TABLES)
    op.execute(TIER_COUNTERS)
    op.execute(DOOR_LIST)
    op.execute(ORDER_BALANCE)


def downgrade() -> None:
    op.execute(ORDER_BALANCE_BEFORE)
    op.execute(DOOR_LIST_BEFORE)
    op.execute(TIER_COUNTERS_BEFORE)
    op.execute("DROP TABLE statements, payment_feed")
    op.execute(BACK)
