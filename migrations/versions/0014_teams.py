"""Teams: who may work on a promoter's events, and what they may do there.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TEAM_MEMBERS = """
CREATE TABLE team_members (
    id uuid NOT NULL,
    promoter_id uuid NOT NULL,
    user_id uuid NOT NULL,
    rights text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_team_members PRIMARY KEY (id),
    CONSTRAINT fk_team_members_promoter_id FOREIGN KEY (promoter_id) REFERENCES promoters (id),
    CONSTRAINT fk_team_members_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT uq_team_members_promoter_id_user_id UNIQUE (promoter_id, user_id),
    CONSTRAINT ck_team_members_rights
        CHECK (rights <@ ARRAY['manage', 'sell', 'scan'] AND cardinality(rights) BETWEEN 1 AND 3)
);
CREATE INDEX ix_team_members_user_id ON team_members (user_id);
CREATE TRIGGER touch_team_members BEFORE UPDATE ON team_members FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""


def upgrade() -> None:
    op.execute(TEAM_MEMBERS)


def downgrade() -> None:
    op.execute("DROP TABLE team_members")
