"""The door: scans with their results, how many there were, and which tickets changed since a gate last asked.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

RESULTS = """(result IN (
    'accepted', 'already_used', 'cancelled', 'refunded', 'disputed', 'transferred', 'wrong_event', 'unknown',
    'bad_signature', 'not_yet_open', 'event_over', 'event_cancelled'
))"""

# Nothing wrote scans before this migration, so there is none whose fingerprint would be missing.
SCANS = f"""
ALTER TABLE check_in_scans
    ALTER COLUMN result TYPE varchar(32),
    ADD COLUMN fingerprint bytea NOT NULL,
    ADD COLUMN is_offline boolean NOT NULL,
    ADD COLUMN is_admitted boolean NOT NULL,
    ADD COLUMN earlier_scan_id uuid,
    ADD COLUMN undone_at timestamptz,
    ADD COLUMN undone_by_id uuid,
    ADD CONSTRAINT fk_check_in_scans_earlier_scan_id FOREIGN KEY (earlier_scan_id) REFERENCES check_in_scans (id),
    ADD CONSTRAINT fk_check_in_scans_undone_by_id FOREIGN KEY (undone_by_id) REFERENCES users (id),
    ADD CONSTRAINT ck_check_in_scans_scan_result CHECK {RESULTS},
    ADD CONSTRAINT ck_check_in_scans_fingerprint_length CHECK (octet_length(fingerprint) = 32),
    ADD CONSTRAINT ck_check_in_scans_nonce_length CHECK (length(nonce) BETWEEN 1 AND 64),
    ADD CONSTRAINT ck_check_in_scans_accepted_admits CHECK (result <> 'accepted' OR is_admitted),
    ADD CONSTRAINT ck_check_in_scans_admitted_how
        CHECK (NOT is_admitted OR (ticket_id IS NOT NULL AND (result = 'accepted' OR is_offline))),
    ADD CONSTRAINT ck_check_in_scans_undone_by CHECK ((undone_at IS NULL) = (undone_by_id IS NULL)),
    ADD CONSTRAINT ck_check_in_scans_undone_what CHECK (undone_at IS NULL OR is_admitted);

-- Its reader, the figures by quarter of an hour, adds up door_counts instead.
DROP INDEX ix_check_in_scans_event_id_scanned_at;
-- Nobody goes in twice with a ticket, and by which scan it is used.
CREATE UNIQUE INDEX uq_check_in_scans_admitted ON check_in_scans (ticket_id) WHERE is_admitted AND undone_at IS NULL;
-- GET /events/{{id}}/check-in-conflicts, newest first.
CREATE INDEX ix_check_in_scans_conflicts ON check_in_scans (event_id, id) WHERE is_offline AND result <> 'accepted';
"""

COUNTS = f"""
CREATE TABLE door_counts (
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    quarter timestamptz NOT NULL,
    gate text,
    tier_id uuid,
    result varchar(32) NOT NULL,
    is_offline boolean NOT NULL,
    scans integer NOT NULL,
    inside integer NOT NULL,
    CONSTRAINT pk_door_counts PRIMARY KEY (id),
    CONSTRAINT fk_door_counts_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT fk_door_counts_tier_id FOREIGN KEY (tier_id) REFERENCES ticket_tiers (id),
    CONSTRAINT uq_door_counts_kind UNIQUE NULLS NOT DISTINCT (event_id, quarter, gate, tier_id, result, is_offline),
    CONSTRAINT ck_door_counts_counts CHECK (scans > 0 AND inside BETWEEN 0 AND scans),
    CONSTRAINT ck_door_counts_quarter CHECK (mod(extract(epoch FROM quarter), 900) = 0),
    CONSTRAINT ck_door_counts_scan_result CHECK {RESULTS}
);
"""

# Tickets of before have 0, which comes before every transaction: they are in each list from its beginning.
CHANGES = """
ALTER TABLE tickets ADD COLUMN changed_xid bigint NOT NULL DEFAULT 0;

CREATE FUNCTION note_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END
$$;
CREATE TRIGGER note_new_ticket BEFORE INSERT ON tickets FOR EACH ROW EXECUTE FUNCTION note_transaction();
CREATE TRIGGER note_changed_ticket
    BEFORE UPDATE OF status, code, code_version, attendee_name, checked_in_at, blocked_at, refund_id ON tickets
    FOR EACH ROW EXECUTE FUNCTION note_transaction();

-- The door list, and what changed in it.
CREATE INDEX ix_tickets_changes ON tickets (event_id, changed_xid, id);
"""

BACK = """
DROP TRIGGER note_changed_ticket ON tickets;
DROP TRIGGER note_new_ticket ON tickets;
DROP FUNCTION note_transaction();
ALTER TABLE tickets DROP COLUMN changed_xid;

DROP TABLE door_counts;

DROP INDEX ix_check_in_scans_conflicts, uq_check_in_scans_admitted;
ALTER TABLE check_in_scans
    DROP CONSTRAINT ck_check_in_scans_scan_result,
    DROP CONSTRAINT ck_check_in_scans_nonce_length,
    DROP CONSTRAINT ck_check_in_scans_accepted_admits,
    DROP CONSTRAINT ck_check_in_scans_admitted_how,
    DROP CONSTRAINT ck_check_in_scans_undone_what,
    DROP COLUMN undone_by_id,
    DROP COLUMN undone_at,
    DROP COLUMN earlier_scan_id,
    DROP COLUMN is_admitted,
    DROP COLUMN is_offline,
    DROP COLUMN fingerprint,
    ALTER COLUMN result TYPE text;
CREATE INDEX ix_check_in_scans_event_id_scanned_at ON check_in_scans (event_id, scanned_at);
"""


def upgrade() -> None:
    op.execute(SCANS)
    op.execute(COUNTS)
    op.execute(CHANGES)


def downgrade() -> None:
    op.execute(BACK)
