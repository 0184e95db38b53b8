"""Inspections: the last look at each event's invariants.

Revision ID: 0013
Revises: 0012
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

INSPECTIONS = """
CREATE TABLE inspections (
    event_id uuid NOT NULL,
    made_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    breaches jsonb NOT NULL DEFAULT '{}'::jsonb,
    suspects jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT pk_inspections PRIMARY KEY (event_id),
    CONSTRAINT fk_inspections_event_id FOREIGN KEY (event_id) REFERENCES events (id)
);
"""


def upgrade() -> None:
    op.execute(INSPECTIONS)


def downgrade() -> None:
    op.execute("DROP TABLE inspections")
