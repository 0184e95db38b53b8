"""What the application's own role may do: read everything, change what changes, and only add to what only grows.

Revision ID: 0009
Revises: 0008
"""

from alembic import context, op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

READ = "ALL TABLES IN SCHEMA public"

CHANGED = (
    "users",
    "promoters",
    "refresh_tokens",
    "account_tokens",
    "events",
    "ticket_tiers",
    "orders",
    "order_items",
    "idempotency_keys",
    "tickets",
    "check_in_scans",
    "waitlist",
    "payment_transactions",
    "webhook_inbox",
    "email_notifications",
)

# What happened cannot be made not to have happened, not even by a broken or a broken-into application.
ADDED = ("order_timeline", "ledger_entries", "audit_logs")

# The one place in the audit log that can be redacted: erasing a person empties the values, never the row.
REDACTED = ("audit_personal_values",)

REFRESHED = ("sales_by_hour", "order_funnel", "refusals_by_reason")

ROLE_EXISTS = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN
        RAISE EXCEPTION 'the role of DATABASE_URL, {name}, does not exist: create it, then migrate again';
    END IF;
END
$$
"""

GRANTS = (
    "GRANT USAGE ON SCHEMA public TO {role}",
    f"GRANT SELECT ON {READ} TO {{role}}",
    f"GRANT INSERT, UPDATE, DELETE ON {', '.join(CHANGED)} TO {{role}}",
    f"GRANT INSERT ON {', '.join(ADDED)} TO {{role}}",
    f"GRANT INSERT, UPDATE ON {', '.join(REDACTED)} TO {{role}}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    # Refreshing is the only thing that MAINTAIN allows on a materialized view (PostgreSQL 17 and newer).
    f"GRANT MAINTAIN ON {', '.join(REFRESHED)} TO {{role}}",
    # Tables of later migrations; those that only grow revoke what is too much.
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {role}",
)

REVOCATIONS = (
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE USAGE ON SEQUENCES FROM {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM {role}",
    "REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}",
    f"REVOKE ALL ON {READ} FROM {{role}}",
    "REVOKE USAGE ON SCHEMA public FROM {role}",
)


def upgrade() -> None:
    name = context.config.attributes["runtime_role"]
    # Where the owner is the application's role too, as in a small set-up, it has every right already.
    if name is None:
        return
    op.execute(ROLE_EXISTS.format(name=name.replace("'", "''")))
    for statement in GRANTS:
        op.execute(statement.format(role=quoted(name)))


def downgrade() -> None:
    name = context.config.attributes["runtime_role"]
    if name is None:
        return
    for statement in REVOCATIONS:
        op.execute(statement.format(role=quoted(name)))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
