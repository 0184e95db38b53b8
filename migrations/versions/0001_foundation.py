"""What the tables stand on: trigrams, an immutable join for full text, the touch triggers, the one line of the sale.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# array_to_string is only STABLE, because the text of some element types depends on settings; that of text does not.
IMMUTABLE_JOIN = """
CREATE FUNCTION immutable_join(words text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    RETURN array_to_string(words, ' ');
"""

# now() rather than clock_timestamp(): all rows that one transaction changed carry one time, without a system call each.
TOUCH_UPDATED_AT = """
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
"""

# The version is the base of an order's ETag: no statement, however set-based, can change an order unnoticed.
TOUCH_ORDER = """
CREATE FUNCTION touch_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$;
"""

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are only ever added', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute(IMMUTABLE_JOIN)
    op.execute(TOUCH_UPDATED_AT)
    op.execute(TOUCH_ORDER)
    op.execute(REFUSE_CHANGE)
    # Orders and waitlist entries stand in one line; a cache would hand out numbers ahead of their turn.
    op.execute("CREATE SEQUENCE sale_sequence CACHE 1")


def downgrade() -> None:
    op.execute("DROP SEQUENCE sale_sequence")
    op.execute("DROP FUNCTION refuse_change(), touch_order(), touch_updated_at(), immutable_join(text[])")
    op.execute("DROP EXTENSION pg_trgm")
