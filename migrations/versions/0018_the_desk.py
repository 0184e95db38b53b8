"""The promoter's desk: search in an event's orders and tickets, more figures, and how old the figures are.

Revision ID: 0018
Revises: 0014
"""

from alembic import context, op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# What each costs a sale stands in docs/adr/0023.
INDEXES = """
-- The promoter's search: orders that were billed to somebody, by a part of that name or address.
CREATE INDEX ix_orders_billing_search ON orders
    USING gin ((coalesce(billing_name, '') || ' ' || coalesce(billing_email, '')) gin_trgm_ops)
    WHERE billing_name IS NOT NULL OR billing_email IS NOT NULL;
-- The promoter's list of what awaits approval.
CREATE INDEX ix_orders_awaiting_approval ON orders (event_id, id) WHERE stage = 'awaiting_approval';
-- The search in an event's attendees, by a part of a name or address.
CREATE INDEX ix_tickets_search ON tickets USING gin ((attendee_name || ' ' || attendee_email) gin_trgm_ops);
"""

# What a free order held was never to be paid, so it says nothing about conversion.
HOLD_CONVERSION = """
CREATE MATERIALIZED VIEW hold_conversion AS
SELECT
    event_id,
    count(*) AS held,
    count(confirmed_at) AS paid,
    count(*) FILTER (WHERE status = 'pending') AS pending,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM confirmed_at - held_at)::double precision)
        AS median_seconds
FROM orders
WHERE held_at IS NOT NULL AND total > 0
GROUP BY event_id;

CREATE UNIQUE INDEX uq_hold_conversion ON hold_conversion (event_id);
"""

# Who joins again has one entry still: what became of the earlier tries is in the orders that were offered.
WAITLIST_OUTCOMES = """
CREATE MATERIALIZED VIEW waitlist_outcomes AS
SELECT
    event_id,
    tier_id,
    count(*) AS joined,
    count(*) FILTER (WHERE status = 'waiting') AS waiting,
    coalesce(sum(quantity) FILTER (WHERE status = 'waiting'), 0)::bigint AS waiting_tickets,
    count(offered_at) AS offered,
    count(*) FILTER (WHERE status = 'accepted') AS accepted,
    count(*) FILTER (WHERE status = 'declined') AS declined,
    count(*) FILTER (WHERE status = 'expired') AS expired,
    count(*) FILTER (WHERE status = 'left') AS "left"
FROM waitlist
GROUP BY event_id, tier_id;

CREATE UNIQUE INDEX uq_waitlist_outcomes ON waitlist_outcomes (event_id, tier_id);
"""

CHECK_INS_BY_QUARTER = """
CREATE MATERIALIZED VIEW check_ins_by_quarter AS
SELECT
    event_id,
    date_bin('15 minutes', scanned_at, '2000-01-01 00:00:00+00') AS quarter,
    result,
    count(*) AS scans
FROM check_in_scans
GROUP BY event_id, date_bin('15 minutes', scanned_at, '2000-01-01 00:00:00+00'), result;

CREATE UNIQUE INDEX uq_check_ins_by_quarter ON check_ins_by_quarter (event_id, quarter, result);
"""

MAIL_ENGAGEMENT = """
CREATE MATERIALIZED VIEW mail_engagement AS
SELECT
    mail.event_id,
    mail.template,
    count(*) AS written,
    count(mail.sent_at) AS sent,
    count(mail.delivered_at) AS delivered,
    count(mail.opened_at) AS opened,
    count(mail.clicked_at) AS clicked,
    count(mail.bounced_at) AS bounced
FROM email_notifications AS mail
WHERE mail.event_id IS NOT NULL
GROUP BY mail.event_id, mail.template;

CREATE UNIQUE INDEX uq_mail_engagement ON mail_engagement (event_id, template);
"""

ANALYTICS_REFRESHES = """
CREATE TABLE analytics_refreshes (
    view text NOT NULL,
    refreshed_at timestamptz NOT NULL,
    CONSTRAINT pk_analytics_refreshes PRIMARY KEY (view)
);
"""

VIEWS = ("hold_conversion", "waitlist_outcomes", "check_ins_by_quarter", "mail_engagement")


def upgrade() -> None:
    op.execute(INDEXES)
    for view in (HOLD_CONVERSION, WAITLIST_OUTCOMES, CHECK_INS_BY_QUARTER, MAIL_ENGAGEMENT):
        op.execute(view)
    op.execute(ANALYTICS_REFRESHES)
    if name := context.config.attributes["runtime_role"]:
        # Default privileges let it read; refreshing is a right of its own.
        role = '"' + name.replace('"', '""') + '"'
        op.execute(f"GRANT MAINTAIN ON {', '.join(VIEWS)} TO {role}")


def downgrade() -> None:
    op.execute("DROP TABLE analytics_refreshes")
    op.execute(f"DROP MATERIALIZED VIEW {', '.join(VIEWS)}")
    op.execute("DROP INDEX ix_tickets_search, ix_orders_awaiting_approval, ix_orders_billing_search")
