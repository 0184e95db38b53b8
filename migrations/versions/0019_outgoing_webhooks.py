"""Outgoing webhooks: promoters' endpoints, and the outbox of what they are told.

Revision ID: 0019
Revises: 0014
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

WEBHOOK_ENDPOINTS = """
CREATE TABLE webhook_endpoints (
    id uuid NOT NULL,
    promoter_id uuid NOT NULL,
    url text NOT NULL,
    types text[] NOT NULL,
    secret_id uuid NOT NULL,
    secret_kid text NOT NULL,
    previous_secret_id uuid,
    previous_secret_kid text,
    previous_secret_until timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    paused_until timestamptz,
    disabled_at timestamptz,
    disabled_reason varchar(32),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT pk_webhook_endpoints PRIMARY KEY (id),
    CONSTRAINT fk_webhook_endpoints_promoter_id FOREIGN KEY (promoter_id) REFERENCES promoters (id),
    CONSTRAINT ck_webhook_endpoints_disabled_reason
        CHECK (disabled_reason IN ('promoter', 'gone', 'failing', 'key_lost')),
    CONSTRAINT ck_webhook_endpoints_types CHECK (
        types <@ ARRAY['order.confirmed', 'order.cancelled', 'order.refunded', 'ticket.checked_in',
                       'waitlist.joined', 'event.published', 'event.cancelled']
        AND cardinality(types) BETWEEN 1 AND 7
    ),
    CONSTRAINT ck_webhook_endpoints_previous_secret_whole
        CHECK (num_nonnulls(previous_secret_id, previous_secret_kid, previous_secret_until) IN (0, 3)),
    CONSTRAINT ck_webhook_endpoints_failing_when
        CHECK (failures >= 0 AND (failures > 0) = (failing_since IS NOT NULL)),
    CONSTRAINT ck_webhook_endpoints_disabled_why CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
);
CREATE INDEX ix_webhook_endpoints_promoter_id_id ON webhook_endpoints (promoter_id, id) WHERE deleted_at IS NULL;
CREATE TRIGGER touch_webhook_endpoints BEFORE UPDATE ON webhook_endpoints
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

WEBHOOK_DELIVERIES = """
CREATE TABLE webhook_deliveries (
    id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    type varchar(32) NOT NULL,
    data jsonb NOT NULL,
    status varchar(32) NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz DEFAULT now(),
    response_status integer,
    error text,
    delivered_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
    CONSTRAINT fk_webhook_deliveries_endpoint_id FOREIGN KEY (endpoint_id) REFERENCES webhook_endpoints (id),
    CONSTRAINT ck_webhook_deliveries_webhook_type CHECK (
        type IN ('order.confirmed', 'order.cancelled', 'order.refunded', 'ticket.checked_in', 'waitlist.joined',
                 'event.published', 'event.cancelled', 'webhook.test')
    ),
    CONSTRAINT ck_webhook_deliveries_delivery_status CHECK (status IN ('pending', 'delivered', 'failed')),
    CONSTRAINT ck_webhook_deliveries_attempts CHECK (attempts >= 0),
    CONSTRAINT ck_webhook_deliveries_due_when CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
    CONSTRAINT ck_webhook_deliveries_delivered_when CHECK ((status = 'delivered') = (delivered_at IS NOT NULL))
);
CREATE INDEX ix_webhook_deliveries_endpoint_id_id ON webhook_deliveries (endpoint_id, id);
CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (next_attempt_at) WHERE status = 'pending';
CREATE INDEX ix_webhook_deliveries_created_at ON webhook_deliveries (created_at);
CREATE TRIGGER touch_webhook_deliveries BEFORE UPDATE ON webhook_deliveries
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""


def upgrade() -> None:
    op.execute(WEBHOOK_ENDPOINTS)
    op.execute(WEBHOOK_DELIVERIES)


def downgrade() -> None:
    op.execute("DROP TABLE webhook_deliveries")
    op.execute("DROP TABLE webhook_endpoints")
