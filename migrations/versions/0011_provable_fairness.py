"""The public log of each tier's decisions, chained by hashes, and the salts that hide orders in it.

Revision ID: 0011
Revises: 0010
"""

from alembic import context, op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Each row of order_items gets a salt of its own, so the table is written anew: migrate between two sales.
COLUMNS = """
ALTER TABLE order_items ADD COLUMN salt uuid NOT NULL DEFAULT gen_random_uuid();

ALTER TABLE ticket_tiers
    ADD COLUMN fairness_position bigint NOT NULL DEFAULT 0,
    ADD COLUMN fairness_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    ADD CONSTRAINT ck_ticket_tiers_fairness_head CHECK (fairness_position >= 0 AND octet_length(fairness_hash) = 32);
"""

TABLES = """
CREATE TABLE fairness_entries (
    tier_id uuid NOT NULL,
    position bigint NOT NULL,
    kind varchar(32) NOT NULL,
    reason varchar(32),
    sequence bigint,
    quantity integer NOT NULL,
    received_at timestamptz,
    decided_at timestamptz NOT NULL,
    commitment bytea,
    hash bytea NOT NULL,
    CONSTRAINT pk_fairness_entries PRIMARY KEY (tier_id, position),
    CONSTRAINT ck_fairness_entries_entry_kind CHECK (
        kind IN ('stock', 'served', 'refused', 'offer', 'reclaim', 'release', 'quarantine')
    ),
    CONSTRAINT ck_fairness_entries_order_reason CHECK (
        reason IN (
            'sold_out', 'limit_exceeded', 'sale_closed', 'incomplete', 'hold_expired', 'approval_expired', 'declined',
            'payment_failed', 'offer_expired', 'buyer_cancelled', 'event_cancelled', 'system_error'
        )
    ),
    CONSTRAINT ck_fairness_entries_position CHECK (position > 0),
    CONSTRAINT ck_fairness_entries_quantity CHECK (quantity >= 0),
    CONSTRAINT ck_fairness_entries_hash_length CHECK (octet_length(hash) = 32),
    CONSTRAINT ck_fairness_entries_commitment_length CHECK (octet_length(commitment) = 32),
    CONSTRAINT ck_fairness_entries_whose CHECK (
        (kind = 'stock') = (sequence IS NULL) AND (sequence IS NULL) = (commitment IS NULL)
        AND (sequence IS NULL) = (received_at IS NULL)
    )
);
"""

BACK = """
DROP TABLE fairness_entries;
ALTER TABLE ticket_tiers DROP COLUMN fairness_hash, DROP COLUMN fairness_position;
ALTER TABLE order_items DROP COLUMN salt;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(TABLES)
    # What was decided cannot be decided otherwise afterwards, not even by a broken-into application.
    if name := context.config.attributes["runtime_role"]:
        op.execute("REVOKE UPDATE, DELETE ON fairness_entries FROM " + quoted(name))


def downgrade() -> None:
    op.execute(BACK)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
