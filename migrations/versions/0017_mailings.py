"""Mailings, unsubscriptions and suppressed addresses; reminders and granted refunds of events; the mails of an event.

Revision ID: 0017
Revises: 0014
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

EVENTS = """
ALTER TABLE events
    ADD COLUMN reminder_hours integer DEFAULT 24,
    ADD COLUMN refund_granted_until timestamptz,
    ADD CONSTRAINT ck_events_reminder_hours CHECK (reminder_hours BETWEEN 1 AND 336);
CREATE INDEX ix_events_reminded ON events (starts_at) WHERE status = 'published' AND reminder_hours IS NOT NULL;
"""

MAILINGS = """
CREATE TABLE mailings (
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    kind varchar(32) NOT NULL,
    status varchar(32) NOT NULL,
    created_by_id uuid,
    subject text,
    body text,
    tier_ids uuid[] NOT NULL DEFAULT '{}',
    ticket_statuses text[] NOT NULL DEFAULT '{valid,used}',
    changes jsonb NOT NULL DEFAULT '{}'::jsonb,
    event_starts_at timestamptz,
    due_at timestamptz,
    served_at timestamptz,
    last_ticket_id uuid,
    people integer,
    written integer NOT NULL DEFAULT 0,
    finished_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_mailings PRIMARY KEY (id),
    CONSTRAINT fk_mailings_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT fk_mailings_created_by_id FOREIGN KEY (created_by_id) REFERENCES users (id),
    CONSTRAINT ck_mailings_mailing_kind CHECK (kind IN ('announcement', 'event_changed', 'reminder')),
    CONSTRAINT ck_mailings_mailing_status CHECK (status IN ('draft', 'waiting', 'sending', 'sent', 'cancelled')),
    CONSTRAINT ck_mailings_announcement
        CHECK ((kind = 'announcement') = (subject IS NOT NULL AND body IS NOT NULL)),
    CONSTRAINT ck_mailings_reminder CHECK ((kind = 'reminder') = (event_starts_at IS NOT NULL)),
    CONSTRAINT ck_mailings_ticket_statuses CHECK (
        ticket_statuses <@ ARRAY['valid', 'used', 'cancelled', 'refunded'] AND cardinality(ticket_statuses) > 0
    ),
    CONSTRAINT ck_mailings_due_when CHECK (status NOT IN ('waiting', 'sending', 'sent') OR due_at IS NOT NULL),
    CONSTRAINT ck_mailings_finished_when CHECK ((status IN ('sent', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT ck_mailings_counts CHECK (written >= 0 AND people >= 0)
);
CREATE INDEX ix_mailings_event_id_id ON mailings (event_id, id);
CREATE INDEX ix_mailings_open ON mailings (due_at) WHERE status IN ('waiting', 'sending');
CREATE UNIQUE INDEX uq_mailings_waiting_change ON mailings (event_id)
    WHERE kind = 'event_changed' AND status = 'waiting';
CREATE UNIQUE INDEX uq_mailings_reminder ON mailings (event_id, event_starts_at) WHERE kind = 'reminder';
CREATE TRIGGER touch_mailings BEFORE UPDATE ON mailings FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE unsubscriptions (
    user_id uuid NOT NULL,
    promoter_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_unsubscriptions PRIMARY KEY (user_id, promoter_id),
    CONSTRAINT fk_unsubscriptions_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT fk_unsubscriptions_promoter_id FOREIGN KEY (promoter_id) REFERENCES promoters (id)
);

CREATE TABLE mail_suppressions (
    id uuid NOT NULL,
    address text NOT NULL,
    reason varchar(32) NOT NULL,
    detail text,
    since timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_mail_suppressions PRIMARY KEY (id),
    CONSTRAINT uq_mail_suppressions_address UNIQUE (address),
    CONSTRAINT ck_mail_suppressions_suppression_reason CHECK (reason IN ('bounced', 'invalid', 'complained')),
    CONSTRAINT ck_mail_suppressions_address_lower CHECK (address = lower(address))
);
"""

OUTBOX = """
ALTER TABLE email_notifications
    ADD COLUMN event_id uuid,
    ADD COLUMN mailing_id uuid,
    ADD CONSTRAINT fk_email_notifications_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    ADD CONSTRAINT fk_email_notifications_mailing_id FOREIGN KEY (mailing_id) REFERENCES mailings (id),
    DROP CONSTRAINT ck_email_notifications_mail_status,
    ADD CONSTRAINT ck_email_notifications_mail_status CHECK (
        status IN ('pending', 'sending', 'sent', 'delivered', 'unknown', 'bounced', 'suppressed', 'failed')
    );
UPDATE email_notifications AS mail SET event_id = orders.event_id FROM orders WHERE orders.id = mail.order_id;
CREATE INDEX ix_email_notifications_event_id_template_status ON email_notifications (event_id, template, status)
    WHERE event_id IS NOT NULL;
CREATE INDEX ix_email_notifications_mailing_id_status ON email_notifications (mailing_id, status)
    WHERE mailing_id IS NOT NULL;
CREATE INDEX ix_email_notifications_undeliverable ON email_notifications (event_id, recipient, id)
    WHERE status IN ('bounced', 'suppressed');
"""

WITHDRAWAL = """
UPDATE email_notifications SET status = 'failed' WHERE status = 'suppressed';
DROP INDEX ix_email_notifications_undeliverable, ix_email_notifications_event_id_template_status;
ALTER TABLE email_notifications
    DROP COLUMN mailing_id,
    DROP COLUMN event_id,
    DROP CONSTRAINT ck_email_notifications_mail_status,
    ADD CONSTRAINT ck_email_notifications_mail_status CHECK (
        status IN ('pending', 'sending', 'sent', 'delivered', 'unknown', 'bounced', 'failed')
    );
DROP TABLE mail_suppressions;
DROP TABLE unsubscriptions;
DROP TABLE mailings;
ALTER TABLE events DROP COLUMN reminder_hours, DROP COLUMN refund_granted_until;
"""


def upgrade() -> None:
    for statement in (EVENTS, MAILINGS, OUTBOX):
        op.execute(statement)


def downgrade() -> None:
    op.execute(WITHDRAWAL)
