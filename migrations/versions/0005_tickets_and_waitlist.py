"""Tickets, the scans at the door, and who waits for a sold-out tier.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TICKETS = """
-- As with users, no plan is made for a handful of rows.
CREATE TABLE tickets (
    id uuid NOT NULL,
    order_id uuid NOT NULL,
    order_item_id uuid NOT NULL,
    position integer NOT NULL,
    tier_id uuid NOT NULL,
    event_id uuid NOT NULL,
    holder_id uuid NOT NULL,
    code text NOT NULL,
    code_version integer NOT NULL,
    qr_payload text,
    qr_image text,
    status varchar(32) NOT NULL,
    attendee_name text NOT NULL,
    attendee_email text NOT NULL,
    checked_in_at timestamptz,
    checked_in_by_id uuid,
    blocked_at timestamptz,
    transferred_from_id uuid,
    transferred_to_id uuid,
    transferred_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_tickets PRIMARY KEY (id),
    CONSTRAINT uq_tickets_order_item_id_position UNIQUE (order_item_id, position),
    CONSTRAINT uq_tickets_code UNIQUE (code),
    CONSTRAINT fk_tickets_order_id FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT fk_tickets_order_item_id FOREIGN KEY (order_item_id) REFERENCES order_items (id),
    CONSTRAINT fk_tickets_tier_id FOREIGN KEY (tier_id) REFERENCES ticket_tiers (id),
    CONSTRAINT fk_tickets_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT fk_tickets_holder_id FOREIGN KEY (holder_id) REFERENCES users (id),
    CONSTRAINT fk_tickets_checked_in_by_id FOREIGN KEY (checked_in_by_id) REFERENCES users (id),
    CONSTRAINT fk_tickets_transferred_from_id FOREIGN KEY (transferred_from_id) REFERENCES users (id),
    CONSTRAINT fk_tickets_transferred_to_id FOREIGN KEY (transferred_to_id) REFERENCES users (id),
    CONSTRAINT ck_tickets_position CHECK (position > 0),
    CONSTRAINT ck_tickets_code_version CHECK (code_version > 0),
    CONSTRAINT ck_tickets_code_entropy CHECK (length(code) >= 22),
    CONSTRAINT ck_tickets_used_when CHECK (
        status NOT IN ('valid', 'used') OR (status = 'used') = (checked_in_at IS NOT NULL)
    ),
    CONSTRAINT ck_tickets_qr_together CHECK ((qr_payload IS NULL) = (qr_image IS NULL)),
    CONSTRAINT ck_tickets_ticket_status CHECK (status IN ('valid', 'used', 'cancelled', 'refunded'))
)
WITH (autovacuum_analyze_threshold = 2000);

-- The tickets of an order.
CREATE INDEX ix_tickets_order_id ON tickets (order_id);
-- GET /tickets, newest first.
CREATE INDEX ix_tickets_holder_id_id ON tickets (holder_id, id);
-- The attendee list, and the door's counters.
CREATE INDEX ix_tickets_event_id_id ON tickets (event_id, id);
-- The sweep: whose picture is missing.
CREATE INDEX ix_tickets_unrendered ON tickets (created_at) WHERE qr_payload IS NULL;

CREATE TRIGGER touch_tickets BEFORE UPDATE ON tickets FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

CHECK_IN_SCANS = """
CREATE TABLE check_in_scans (
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    ticket_id uuid,
    scanned_by_id uuid NOT NULL,
    nonce text NOT NULL,
    result text NOT NULL,
    gate text,
    scanned_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_check_in_scans PRIMARY KEY (id),
    CONSTRAINT uq_check_in_scans_scanned_by_id_nonce UNIQUE (scanned_by_id, nonce),
    CONSTRAINT fk_check_in_scans_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT fk_check_in_scans_ticket_id FOREIGN KEY (ticket_id) REFERENCES tickets (id),
    CONSTRAINT fk_check_in_scans_scanned_by_id FOREIGN KEY (scanned_by_id) REFERENCES users (id)
);

-- The door's counters by quarter of an hour.
CREATE INDEX ix_check_in_scans_event_id_scanned_at ON check_in_scans (event_id, scanned_at);
-- A ticket's history.
CREATE INDEX ix_check_in_scans_ticket_id ON check_in_scans (ticket_id);
"""

WAITLIST = """
CREATE TABLE waitlist (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    event_id uuid NOT NULL,
    tier_id uuid NOT NULL,
    quantity integer NOT NULL,
    sequence bigint NOT NULL DEFAULT nextval('sale_sequence'),
    status varchar(32) NOT NULL,
    offered_at timestamptz,
    notified_at timestamptz,
    offer_expires_at timestamptz,
    responded_at timestamptz,
    response text,
    offered_order_id uuid,
    unoffered_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_waitlist PRIMARY KEY (id),
    CONSTRAINT uq_waitlist_user_id_event_id_tier_id UNIQUE (user_id, event_id, tier_id),
    CONSTRAINT fk_waitlist_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT fk_waitlist_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT fk_waitlist_tier_id FOREIGN KEY (tier_id) REFERENCES ticket_tiers (id),
    CONSTRAINT fk_waitlist_offered_order_id FOREIGN KEY (offered_order_id) REFERENCES orders (id),
    CONSTRAINT ck_waitlist_quantity CHECK (quantity > 0),
    CONSTRAINT ck_waitlist_offer_has_clock CHECK ((status = 'offered') <= (offer_expires_at IS NOT NULL)),
    CONSTRAINT ck_waitlist_offer_has_order CHECK ((status = 'offered') <= (offered_order_id IS NOT NULL)),
    CONSTRAINT ck_waitlist_response CHECK (response IN ('accepted', 'declined')),
    CONSTRAINT ck_waitlist_responded_when CHECK ((response IS NULL) = (responded_at IS NULL)),
    CONSTRAINT ck_waitlist_waitlist_status CHECK (
        status IN ('waiting', 'offered', 'accepted', 'declined', 'expired', 'left')
    )
);

-- The tier's line of waiting entries.
CREATE INDEX ix_waitlist_line ON waitlist (tier_id, sequence) WHERE status = 'waiting';
-- GET /waitlist.
CREATE INDEX ix_waitlist_user_id_id ON waitlist (user_id, id);
-- The promoter's view of an event's list.
CREATE INDEX ix_waitlist_event_id_sequence ON waitlist (event_id, sequence);
-- The waitlist worker: offers whose mail is not written yet.
CREATE INDEX ix_waitlist_unnotified ON waitlist (offered_at) WHERE status = 'offered' AND notified_at IS NULL;
-- From an order back to the entry that it was offered to.
CREATE INDEX ix_waitlist_offered_order_id ON waitlist (offered_order_id);

CREATE TRIGGER touch_waitlist BEFORE UPDATE ON waitlist FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""


def upgrade() -> None:
    op.execute(TICKETS)
    op.execute(CHECK_IN_SCANS)
    op.execute(WAITLIST)


def downgrade() -> None:
    op.execute("DROP TABLE waitlist, check_in_scans, tickets")
