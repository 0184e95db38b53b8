"""The mail outbox, and the audit log with its personal values aside.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

EMAIL_NOTIFICATIONS = """
CREATE TABLE email_notifications (
    id uuid NOT NULL,
    user_id uuid,
    order_id uuid,
    template text NOT NULL,
    purpose text NOT NULL,
    subject text,
    recipient text NOT NULL,
    recipient_name text NOT NULL,
    context jsonb NOT NULL DEFAULT '{}'::jsonb,
    status varchar(32) NOT NULL,
    attempts integer NOT NULL,
    next_attempt_at timestamptz,
    provider_message_id text,
    sent_at timestamptz,
    delivered_at timestamptz,
    opened_at timestamptz,
    clicked_at timestamptz,
    bounced_at timestamptz,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_email_notifications PRIMARY KEY (id),
    CONSTRAINT uq_email_notifications_purpose UNIQUE (purpose),
    CONSTRAINT fk_email_notifications_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT fk_email_notifications_order_id FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT ck_email_notifications_attempts CHECK (attempts >= 0),
    CONSTRAINT ck_email_notifications_recipient_shape CHECK (recipient LIKE '%_@_%'),
    CONSTRAINT ck_email_notifications_sent_when CHECK (
        status NOT IN ('sent', 'delivered') OR sent_at IS NOT NULL
    ),
    CONSTRAINT ck_email_notifications_mail_status CHECK (
        status IN ('pending', 'sending', 'sent', 'delivered', 'unknown', 'bounced', 'failed')
    )
);

-- The sweep: what is due, and what a dead worker left in `sending`.
CREATE INDEX ix_email_notifications_due ON email_notifications (status, next_attempt_at)
    WHERE status IN ('pending', 'sending', 'unknown');
-- The mails of an order, and of a person.
CREATE INDEX ix_email_notifications_order_id ON email_notifications (order_id);
CREATE INDEX ix_email_notifications_user_id_id ON email_notifications (user_id, id);
-- A delivery event names the provider's message.
CREATE INDEX ix_email_notifications_provider_message_id ON email_notifications (provider_message_id);
-- The admin's list of what failed.
CREATE INDEX ix_email_notifications_failed ON email_notifications (id) WHERE status IN ('failed', 'bounced');

CREATE TRIGGER touch_email_notifications BEFORE UPDATE ON email_notifications
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

AUDIT_LOGS = """
CREATE TABLE audit_logs (
    id uuid NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    entity_type text NOT NULL,
    entity_id uuid NOT NULL,
    old_data jsonb,
    new_data jsonb,
    ip text,
    user_agent text,
    request_id text,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_audit_logs PRIMARY KEY (id),
    CONSTRAINT fk_audit_logs_actor_id FOREIGN KEY (actor_id) REFERENCES users (id),
    CONSTRAINT ck_audit_logs_action_shape CHECK (action ~ '^[a-z_]+[.][a-z_]+$')
);

-- What happened to a thing.
CREATE INDEX ix_audit_logs_entity ON audit_logs (entity_type, entity_id, id);
-- What a person did.
CREATE INDEX ix_audit_logs_actor_id_id ON audit_logs (actor_id, id);
-- Search by time over a table that only grows.
CREATE INDEX ix_audit_logs_at ON audit_logs USING brin (at);

-- The owner too only adds; TRUNCATE stays possible for those who reset a whole database.
CREATE TRIGGER only_added_audit_logs BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

AUDIT_PERSONAL_VALUES = """
CREATE TABLE audit_personal_values (
    id bigint GENERATED ALWAYS AS IDENTITY,
    audit_log_id uuid NOT NULL,
    subject_id uuid NOT NULL,
    field text NOT NULL,
    old_value text,
    new_value text,
    CONSTRAINT pk_audit_personal_values PRIMARY KEY (id),
    CONSTRAINT fk_audit_personal_values_audit_log_id FOREIGN KEY (audit_log_id) REFERENCES audit_logs (id),
    CONSTRAINT fk_audit_personal_values_subject_id FOREIGN KEY (subject_id) REFERENCES users (id)
);

CREATE INDEX ix_audit_personal_values_audit_log_id ON audit_personal_values (audit_log_id);
CREATE INDEX ix_audit_personal_values_subject_id ON audit_personal_values (subject_id);
"""


def upgrade() -> None:
    op.execute(EMAIL_NOTIFICATIONS)
    op.execute(AUDIT_LOGS)
    op.execute(AUDIT_PERSONAL_VALUES)


def downgrade() -> None:
    op.execute("DROP TABLE audit_personal_values, audit_logs, email_notifications")
