"""An order's number is unique by a partial index, so that changing an order does not lock its key.

An UPDATE computes generated columns anew where a trigger runs before it, and PostgreSQL then takes the lock for a changed
key if a unique constraint stands on one: every change of an order waited for whoever referred to it, and they for it. An
index with a condition is no key that a foreign key could refer to (postgresql.org/docs/current/explicit-locking.html,
13.3.2).

Revision ID: 0022
Revises: 0021
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE orders DROP CONSTRAINT uq_orders_number")
    op.execute("CREATE UNIQUE INDEX uq_orders_number ON orders (number) WHERE number IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX uq_orders_number")
    op.execute("ALTER TABLE orders ADD CONSTRAINT uq_orders_number UNIQUE (number)")
