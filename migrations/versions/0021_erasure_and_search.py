"""People who were erased, deleted things that may be restored, and what admins search by.

Revision ID: 0021
Revises: 0014
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

UPGRADE = """
ALTER TABLE users ADD COLUMN erased_at timestamptz;
ALTER TABLE users ADD CONSTRAINT ck_users_erased_is_deleted CHECK (erased_at IS NULL OR deleted_at IS NOT NULL);
DROP INDEX ix_refresh_tokens_user_id_family_id;
CREATE INDEX ix_refresh_tokens_user_id_family_id ON refresh_tokens (user_id, family_id);
DROP INDEX ix_account_tokens_user_id_purpose;
CREATE INDEX ix_account_tokens_user_id_purpose ON account_tokens (user_id, purpose);
CREATE INDEX ix_users_deleted ON users (id) WHERE deleted_at IS NOT NULL;
CREATE INDEX ix_events_deleted ON events (id) WHERE deleted_at IS NOT NULL;
DROP INDEX ix_audit_logs_entity;
CREATE INDEX ix_audit_logs_entity_id_id ON audit_logs (entity_id, id);
CREATE INDEX ix_audit_logs_entity_type_id ON audit_logs (entity_type, id);
CREATE INDEX ix_audit_logs_action_id ON audit_logs (action, id);
CREATE INDEX ix_audit_logs_noun_id ON audit_logs (split_part(action, '.', 1), id);
CREATE INDEX ix_audit_logs_request_id_id ON audit_logs (request_id, id) WHERE request_id IS NOT NULL;
CREATE INDEX ix_audit_logs_ip_id ON audit_logs (ip, id) WHERE ip IS NOT NULL;
CREATE INDEX ix_email_notifications_template_id ON email_notifications (template, id);
CREATE INDEX ix_email_notifications_recipient ON email_notifications (lower(recipient), id);
CREATE INDEX ix_email_notifications_farewells ON email_notifications (id)
    WHERE template = 'account_erased' AND recipient <> 'erased@erased.invalid';
CREATE INDEX ix_webhook_inbox_subject ON webhook_inbox ("left"(coalesce(payload ->> 'notification_id',
    payload #>> '{data,object,payment_intent}', payload #>> '{data,object,id}'), 255));
"""

DOWNGRADE = """
DROP INDEX ix_webhook_inbox_subject;
DROP INDEX ix_email_notifications_farewells;
DROP INDEX ix_email_notifications_recipient;
DROP INDEX ix_email_notifications_template_id;
DROP INDEX ix_audit_logs_ip_id;
DROP INDEX ix_audit_logs_request_id_id;
DROP INDEX ix_audit_logs_noun_id;
DROP INDEX ix_audit_logs_action_id;
DROP INDEX ix_audit_logs_entity_type_id;
DROP INDEX ix_audit_logs_entity_id_id;
CREATE INDEX ix_audit_logs_entity ON audit_logs (entity_type, entity_id, id);
DROP INDEX ix_events_deleted;
DROP INDEX ix_users_deleted;
DROP INDEX ix_account_tokens_user_id_purpose;
CREATE INDEX ix_account_tokens_user_id_purpose ON account_tokens (user_id, purpose) WHERE used_at IS NULL;
DROP INDEX ix_refresh_tokens_user_id_family_id;
CREATE INDEX ix_refresh_tokens_user_id_family_id ON refresh_tokens (user_id, family_id) WHERE revoked_at IS NULL;
ALTER TABLE users DROP COLUMN erased_at;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
