"""Discount and access codes, and tiers that are hidden from those without one.

Revision ID: 0020
Revises: 0014
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

CODES = """
CREATE TABLE codes (
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    code text NOT NULL,
    discount_bps integer,
    discount_amount bigint,
    opens_hidden boolean NOT NULL DEFAULT false,
    tier_ids uuid[] NOT NULL DEFAULT '{}',
    max_uses integer,
    max_tickets integer,
    max_per_person integer,
    valid_from timestamptz,
    valid_until timestamptz,
    is_active boolean NOT NULL DEFAULT true,
    uses integer NOT NULL DEFAULT 0,
    tickets integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_codes PRIMARY KEY (id),
    CONSTRAINT fk_codes_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    -- A code that is sent with an order.
    CONSTRAINT uq_codes_event_id_code UNIQUE (event_id, code),
    CONSTRAINT ck_codes_code_shape CHECK (code ~ '^[A-Z0-9][A-Z0-9-]{2,39}$'),
    CONSTRAINT ck_codes_discount_bps CHECK (discount_bps BETWEEN 1 AND 10000),
    CONSTRAINT ck_codes_discount_amount CHECK (discount_amount > 0),
    CONSTRAINT ck_codes_one_discount CHECK (discount_bps IS NULL OR discount_amount IS NULL),
    CONSTRAINT ck_codes_purpose CHECK (opens_hidden OR num_nonnulls(discount_bps, discount_amount) = 1),
    CONSTRAINT ck_codes_opens_what CHECK (NOT opens_hidden OR cardinality(tier_ids) > 0),
    CONSTRAINT ck_codes_limits CHECK (max_uses > 0 AND max_tickets > 0 AND max_per_person > 0),
    CONSTRAINT ck_codes_validity CHECK (valid_until > valid_from),
    CONSTRAINT ck_codes_counters CHECK (uses BETWEEN 0 AND tickets),
    CONSTRAINT ck_codes_never_overused CHECK (uses <= max_uses),
    CONSTRAINT ck_codes_never_overdrawn CHECK (tickets <= max_tickets)
)
-- Counters change with every round: their new versions stay on the page, as those of the tiers do.
WITH (fillfactor = 70);
-- GET /events/{id}/codes, newest first.
CREATE INDEX ix_codes_event_id_id ON codes (event_id, id);
CREATE TRIGGER touch_codes BEFORE UPDATE ON codes FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

COLUMNS = """
ALTER TABLE ticket_tiers ADD COLUMN is_hidden boolean NOT NULL DEFAULT false;

ALTER TABLE order_items
    ADD COLUMN code_id uuid,
    ADD CONSTRAINT fk_order_items_code_id FOREIGN KEY (code_id) REFERENCES codes (id),
    DROP CONSTRAINT ck_order_items_subtotal,
    -- Less than the full price only with a code.
    ADD CONSTRAINT ck_order_items_subtotal CHECK (
        subtotal = unit_price * quantity OR (code_id IS NOT NULL AND subtotal BETWEEN 0 AND unit_price * quantity)
    );

-- Counting again what was taken with a code, and deleting one that nobody has.
CREATE INDEX ix_order_items_code_id ON order_items (code_id) WHERE code_id IS NOT NULL;
"""

# Where something was sold at a discount there is no way back: the schema before has no place for its price.
BACK = """
DROP INDEX ix_order_items_code_id;
ALTER TABLE order_items DROP CONSTRAINT ck_order_items_subtotal;
ALTER TABLE order_items DROP COLUMN code_id;
ALTER TABLE order_items
    ADD CONSTRAINT ck_order_items_subtotal CHECK (subtotal = unit_price * quantity);
ALTER TABLE ticket_tiers DROP COLUMN is_hidden;
DROP TABLE codes;
"""


def upgrade() -> None:
    op.execute(CODES)
    op.execute(COLUMNS)


def downgrade() -> None:
    op.execute(BACK)
