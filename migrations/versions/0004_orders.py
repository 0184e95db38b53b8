"""Purchases: orders, their items, the timeline, and the answers kept for repeated requests.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ORDERS = """
-- Rows move on several times in minutes: a fixed number of dead ones keeps the partial indexes of what waits short.
-- As with users, no plan is made for a handful of rows.
CREATE TABLE orders (
    id uuid NOT NULL,
    sequence bigint NOT NULL DEFAULT nextval('sale_sequence'),
    number text NOT NULL GENERATED ALWAYS AS (
        'TV-' || CASE WHEN sequence < 100000000 THEN lpad(sequence::text, 8, '0') ELSE sequence::text END
    ) STORED,
    user_id uuid NOT NULL,
    event_id uuid NOT NULL,
    status varchar(32) NOT NULL DEFAULT 'pending',
    stage varchar(32) NOT NULL DEFAULT 'queued',
    reason varchar(32),
    payment_status varchar(32) NOT NULL DEFAULT 'pending',
    source varchar(32) NOT NULL DEFAULT 'direct',
    version integer NOT NULL DEFAULT 1,
    currency text NOT NULL,
    subtotal bigint NOT NULL,
    fees bigint NOT NULL,
    absorbed_fees bigint NOT NULL DEFAULT 0,
    tax bigint NOT NULL,
    total bigint NOT NULL,
    refunded bigint NOT NULL DEFAULT 0,
    stripe_payment_intent_id text,
    stripe_charge_id text,
    stripe_client_secret text,
    billing_name text,
    billing_email text,
    billing_address jsonb,
    held_at timestamptz,
    hold_expires_at timestamptz,
    hold_limit_at timestamptz,
    hold_extended boolean NOT NULL DEFAULT false,
    confirmed_at timestamptz,
    cancelled_at timestamptz,
    refunded_at timestamptz,
    idempotency_key text,
    idempotency_fingerprint text,
    request_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_orders PRIMARY KEY (id),
    CONSTRAINT uq_orders_user_id_idempotency_key UNIQUE (user_id, idempotency_key),
    CONSTRAINT uq_orders_number UNIQUE (number),
    CONSTRAINT fk_orders_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT fk_orders_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT ck_orders_amounts CHECK (subtotal >= 0 AND fees >= 0 AND absorbed_fees >= 0 AND tax >= 0),
    CONSTRAINT ck_orders_total_adds_up CHECK (total = subtotal + fees + tax),
    CONSTRAINT ck_orders_never_refunded_more CHECK (refunded BETWEEN 0 AND total),
    CONSTRAINT ck_orders_currency_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT ck_orders_status_of_stage CHECK ((status = 'confirmed') = (stage IN ('issuing', 'complete'))),
    CONSTRAINT ck_orders_closed_status CHECK ((status IN ('cancelled', 'refunded')) = (stage = 'closed')),
    CONSTRAINT ck_orders_closed_reason CHECK (stage <> 'closed' OR reason IS NOT NULL OR status = 'refunded'),
    CONSTRAINT ck_orders_idempotency_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT ck_orders_key_has_fingerprint CHECK (
        idempotency_key IS NULL OR idempotency_fingerprint IS NOT NULL
    ),
    CONSTRAINT ck_orders_order_status CHECK (status IN ('pending', 'confirmed', 'cancelled', 'refunded')),
    CONSTRAINT ck_orders_order_stage CHECK (
        stage IN ('queued', 'partly_held', 'awaiting_approval', 'held', 'awaiting_payment',
            'payment_delayed', 'processing', 'expiring', 'offered', 'issuing', 'complete', 'closed',
            'quarantined')
    ),
    CONSTRAINT ck_orders_order_reason CHECK (
        reason IN ('sold_out', 'limit_exceeded', 'sale_closed', 'incomplete', 'hold_expired',
            'approval_expired', 'declined', 'payment_failed', 'offer_expired', 'buyer_cancelled',
            'event_cancelled', 'system_error')
    ),
    CONSTRAINT ck_orders_payment_status CHECK (
        payment_status IN ('pending', 'completed', 'failed', 'refunded')
    ),
    CONSTRAINT ck_orders_order_source CHECK (source IN ('direct', 'waitlist'))
)
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_threshold = 2000);

-- GET /orders, newest first.
CREATE INDEX ix_orders_user_id_id ON orders (user_id, id);
-- GET /events/{id}/orders, and the refunds of a cancelled event.
CREATE INDEX ix_orders_event_id_id ON orders (event_id, id);
-- The sweep: whose clock ran out.
CREATE INDEX ix_orders_clock ON orders (hold_expires_at) WHERE hold_expires_at IS NOT NULL;
-- The sweep: who stands still between two steps, and must be rung again.
CREATE INDEX ix_orders_unsettled ON orders (stage, updated_at)
    WHERE stage IN ('held', 'payment_delayed', 'processing', 'expiring', 'issuing');
-- A webhook names an intent.
CREATE UNIQUE INDEX uq_orders_stripe_payment_intent_id ON orders (stripe_payment_intent_id)
    WHERE stripe_payment_intent_id IS NOT NULL;

CREATE TRIGGER touch_orders BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch_order();
"""

ORDER_ITEMS = """
-- As with orders: the head of each tier's line must not fill with entries of rows that have left it.
CREATE TABLE order_items (
    id uuid NOT NULL,
    order_id uuid NOT NULL,
    tier_id uuid NOT NULL,
    sequence bigint NOT NULL,
    quantity integer NOT NULL,
    unit_price bigint NOT NULL,
    subtotal bigint NOT NULL,
    fees bigint NOT NULL,
    absorbed_fees bigint NOT NULL DEFAULT 0,
    tax bigint NOT NULL,
    attendees jsonb,
    inventory_state varchar(32) NOT NULL DEFAULT 'queued',
    desired_state varchar(32),
    CONSTRAINT pk_order_items PRIMARY KEY (id),
    CONSTRAINT uq_order_items_order_id_tier_id UNIQUE (order_id, tier_id),
    CONSTRAINT fk_order_items_order_id FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT fk_order_items_tier_id FOREIGN KEY (tier_id) REFERENCES ticket_tiers (id),
    CONSTRAINT ck_order_items_quantity CHECK (quantity > 0),
    CONSTRAINT ck_order_items_subtotal CHECK (subtotal = unit_price * quantity),
    CONSTRAINT ck_order_items_amounts CHECK (
        unit_price >= 0 AND fees >= 0 AND absorbed_fees >= 0 AND tax >= 0
    ),
    CONSTRAINT ck_order_items_desired_state_wish CHECK (desired_state IN ('sold', 'released')),
    CONSTRAINT ck_order_items_inventory_state CHECK (
        inventory_state IN ('queued', 'reserved', 'sold', 'released', 'refused', 'quarantined')
    )
)
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_threshold = 2000);

-- The tier's line, and the count of who is ahead.
CREATE INDEX ix_order_items_line ON order_items (tier_id, sequence)
    WHERE inventory_state = 'queued' AND desired_state IS NULL;
-- What else the consumer is asked to do.
CREATE INDEX ix_order_items_wishes ON order_items (tier_id, sequence) WHERE desired_state IS NOT NULL;
"""

ORDER_TIMELINE = """
CREATE TABLE order_timeline (
    id bigint GENERATED ALWAYS AS IDENTITY,
    order_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT pk_order_timeline PRIMARY KEY (order_id, id),
    CONSTRAINT fk_order_timeline_order_id FOREIGN KEY (order_id) REFERENCES orders (id)
);
"""

IDEMPOTENCY_KEYS = """
CREATE TABLE idempotency_keys (
    user_id uuid NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    response_status integer NOT NULL,
    response_body jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (user_id, key),
    CONSTRAINT fk_idempotency_keys_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT ck_idempotency_keys_key_length CHECK (length(key) BETWEEN 1 AND 255)
);

-- The sweep deletes what is older than a day.
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
"""


def upgrade() -> None:
    op.execute(ORDERS)
    op.execute(ORDER_ITEMS)
    op.execute(ORDER_TIMELINE)
    op.execute(IDEMPOTENCY_KEYS)


def downgrade() -> None:
    op.execute("DROP TABLE idempotency_keys, order_timeline, order_items, orders")
