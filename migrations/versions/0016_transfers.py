"""Transfers of tickets, whether and until when an event allows them, and when a team was told of waiting orders.

Revision ID: 0016
Revises: 0014
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

EVENTS = """
ALTER TABLE events
    ADD COLUMN transfers_allowed boolean NOT NULL DEFAULT true,
    ADD COLUMN transfer_until_hours integer,
    ADD CONSTRAINT ck_events_transfer_until_hours CHECK (transfer_until_hours >= 0);
"""

TRANSFERS = """
CREATE TABLE ticket_transfers (
    id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    sender_id uuid NOT NULL,
    recipient_email text NOT NULL,
    recipient_name text,
    recipient_id uuid,
    status varchar(32) NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_ticket_transfers PRIMARY KEY (id),
    CONSTRAINT fk_ticket_transfers_ticket_id FOREIGN KEY (ticket_id) REFERENCES tickets (id),
    CONSTRAINT fk_ticket_transfers_sender_id FOREIGN KEY (sender_id) REFERENCES users (id),
    CONSTRAINT fk_ticket_transfers_recipient_id FOREIGN KEY (recipient_id) REFERENCES users (id),
    CONSTRAINT ck_ticket_transfers_transfer_status
        CHECK (status IN ('pending', 'accepted', 'declined', 'cancelled', 'expired', 'void')),
    CONSTRAINT ck_ticket_transfers_recipient_shape CHECK (recipient_email LIKE '%_@_%'),
    CONSTRAINT ck_ticket_transfers_accepted_by CHECK ((status = 'accepted') = (recipient_id IS NOT NULL)),
    CONSTRAINT ck_ticket_transfers_ended_when CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX uq_ticket_transfers_pending ON ticket_transfers (ticket_id) WHERE status = 'pending';
CREATE INDEX ix_ticket_transfers_ticket_id_id ON ticket_transfers (ticket_id, id);
CREATE INDEX ix_ticket_transfers_sender_id_id ON ticket_transfers (sender_id, id);
CREATE INDEX ix_ticket_transfers_received ON ticket_transfers (lower(recipient_email), id);
CREATE INDEX ix_ticket_transfers_recipient_id ON ticket_transfers (recipient_id) WHERE recipient_id IS NOT NULL;
CREATE INDEX ix_ticket_transfers_expiring ON ticket_transfers (expires_at) WHERE status = 'pending';
CREATE TRIGGER touch_ticket_transfers BEFORE UPDATE ON ticket_transfers
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

# Refunds, disputes and the door end tickets, each in its own way: none of them can forget the offer that stands.
VOIDING = """
CREATE FUNCTION void_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ticket_transfers SET status = 'void', ended_at = now()
    WHERE ticket_id = NEW.id AND status = 'pending';
    RETURN NULL;
END
$$;
CREATE TRIGGER void_transfer AFTER UPDATE OF status, blocked_at, refund_id ON tickets
    FOR EACH ROW WHEN (NEW.status <> 'valid' OR NEW.blocked_at IS NOT NULL OR NEW.refund_id IS NOT NULL)
    EXECUTE FUNCTION void_transfer();
"""

APPROVALS = """
CREATE TABLE approval_notices (
    event_id uuid NOT NULL,
    has_news boolean NOT NULL,
    told_at timestamptz,
    CONSTRAINT pk_approval_notices PRIMARY KEY (event_id),
    CONSTRAINT fk_approval_notices_event_id FOREIGN KEY (event_id) REFERENCES events (id)
);
CREATE INDEX ix_approval_notices_due ON approval_notices (told_at) WHERE has_news;
"""

# The sweep looks at orders that await approval, too.
UNSETTLED = """
DROP INDEX ix_orders_unsettled;
CREATE INDEX ix_orders_unsettled ON orders (stage, updated_at) WHERE stage IN ({stages});
"""
BEFORE = "'held', 'payment_delayed', 'processing', 'expiring', 'issuing'"


def upgrade() -> None:
    for statements in (EVENTS, TRANSFERS, VOIDING, APPROVALS, UNSETTLED.format(stages=f"'awaiting_approval', {BEFORE}")):
        op.execute(statements)


def downgrade() -> None:
    op.execute(UNSETTLED.format(stages=BEFORE))
    op.execute("""
        DROP TABLE approval_notices;
        DROP TRIGGER void_transfer ON tickets;
        DROP FUNCTION void_transfer();
        DROP TABLE ticket_transfers;
        ALTER TABLE events DROP COLUMN transfers_allowed, DROP COLUMN transfer_until_hours;
    """)
