"""Places in line that all processes agree on, tiers that take no new orders, and how many orders a person has waiting.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE ticket_tiers
    ADD COLUMN is_draining boolean NOT NULL DEFAULT false,
    ADD COLUMN decided_until bigint NOT NULL DEFAULT 0,
    ADD COLUMN decided_at timestamptz,
    ADD COLUMN withdrawn integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT ck_ticket_tiers_line_counters CHECK (decided_until >= 0 AND withdrawn >= 0);

ALTER TABLE order_items
    ADD COLUMN withdrawal integer,
    ADD CONSTRAINT ck_order_items_withdrawal CHECK (withdrawal > 0);

-- Who has left the line unserved since somebody read it.
CREATE UNIQUE INDEX uq_order_items_withdrawals ON order_items (tier_id, withdrawal) WHERE withdrawal IS NOT NULL;
-- The submit: how many orders of this person for this event are undecided.
CREATE INDEX ix_orders_undecided ON orders (user_id, event_id) WHERE stage IN ('queued', 'partly_held');
"""

BACK = """
DROP INDEX ix_orders_undecided;
ALTER TABLE order_items DROP COLUMN withdrawal;
ALTER TABLE ticket_tiers
    DROP COLUMN withdrawn, DROP COLUMN decided_at, DROP COLUMN decided_until, DROP COLUMN is_draining;
"""


def upgrade() -> None:
    op.execute(COLUMNS)


def downgrade() -> None:
    op.execute(BACK)
