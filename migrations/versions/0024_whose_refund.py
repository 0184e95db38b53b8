"""A refund knows whether a promoter's account pays for it: what came back from a bank is not taken from there again.

Code older than this may go on meanwhile.

Revision ID: 0024
Revises: 0023
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; until now every refund was taken from the promoter's account, where there is one."""
    op.execute("ALTER TABLE payment_transactions ADD COLUMN reverses_transfer boolean NOT NULL DEFAULT true")


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE payment_transactions DROP COLUMN reverses_transfer")
