"""What is for sale: events, found by full text, tags and trigrams, and their tiers with the counters.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

EVENTS = """
CREATE TABLE events (
    id uuid NOT NULL,
    promoter_id uuid NOT NULL,
    title text NOT NULL,
    slug text NOT NULL,
    description text,
    category text,
    tags text[] NOT NULL DEFAULT '{}',
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    doors_at timestamptz,
    timezone text NOT NULL,
    venue_name text,
    address_line1 text,
    address_line2 text,
    city text,
    region text,
    postal_code text,
    country text,
    latitude numeric(9, 6),
    longitude numeric(9, 6),
    status varchar(32) NOT NULL,
    is_featured boolean NOT NULL,
    is_private boolean NOT NULL,
    image_url text,
    capacity integer NOT NULL,
    currency text NOT NULL,
    fee_rate_bps integer NOT NULL,
    fee_fixed integer NOT NULL,
    absorbs_fees boolean NOT NULL,
    tax_rate_bps integer NOT NULL,
    offer_seconds integer,
    skips_large_groups boolean NOT NULL,
    published_at timestamptz,
    cancelled_at timestamptz,
    search_vector tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('simple', coalesce(title, '')), 'A')
        || setweight(to_tsvector('simple', coalesce(venue_name, '') || ' ' || coalesce(city, '')), 'B')
        || setweight(to_tsvector('simple', coalesce(category, '') || ' ' || immutable_join(tags)), 'B')
        || setweight(to_tsvector('simple', coalesce(description, '')), 'C')
    ) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT pk_events PRIMARY KEY (id),
    CONSTRAINT uq_events_slug UNIQUE (slug),
    CONSTRAINT fk_events_promoter_id FOREIGN KEY (promoter_id) REFERENCES promoters (id),
    CONSTRAINT ck_events_title_length CHECK (length(title) BETWEEN 1 AND 200),
    CONSTRAINT ck_events_slug_shape CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    CONSTRAINT ck_events_ends_after_start CHECK (ends_at > starts_at),
    CONSTRAINT ck_events_doors_before_start CHECK (doors_at <= starts_at),
    CONSTRAINT ck_events_capacity CHECK (capacity > 0),
    CONSTRAINT ck_events_currency_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT ck_events_country_iso CHECK (country ~ '^[A-Z]{2}$'),
    CONSTRAINT ck_events_latitude CHECK (latitude BETWEEN -90 AND 90),
    CONSTRAINT ck_events_longitude CHECK (longitude BETWEEN -180 AND 180),
    CONSTRAINT ck_events_coordinates_together CHECK ((latitude IS NULL) = (longitude IS NULL)),
    CONSTRAINT ck_events_fees CHECK (fee_rate_bps BETWEEN 0 AND 10000 AND fee_fixed >= 0),
    CONSTRAINT ck_events_tax_rate CHECK (tax_rate_bps BETWEEN 0 AND 10000),
    CONSTRAINT ck_events_offer_seconds CHECK (offer_seconds > 0),
    CONSTRAINT ck_events_published_when CHECK (
        status = 'draft' OR status = 'cancelled' OR published_at IS NOT NULL
    ),
    CONSTRAINT ck_events_cancelled_when CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL)),
    CONSTRAINT ck_events_event_status CHECK (status IN ('draft', 'published', 'cancelled', 'completed'))
);

-- The public list: coming events in order of time, and by city or category.
CREATE INDEX ix_events_public ON events (starts_at, id)
    WHERE status = 'published' AND NOT is_private AND deleted_at IS NULL;
CREATE INDEX ix_events_public_city ON events (lower(city), starts_at, id)
    WHERE status = 'published' AND NOT is_private AND deleted_at IS NULL;
CREATE INDEX ix_events_public_category ON events (lower(category), starts_at, id)
    WHERE status = 'published' AND NOT is_private AND deleted_at IS NULL;
CREATE INDEX ix_events_featured ON events (starts_at)
    WHERE is_featured AND status = 'published' AND NOT is_private AND deleted_at IS NULL;
-- A promoter's own list.
CREATE INDEX ix_events_promoter_id_id ON events (promoter_id, id);
-- q=… and tag=… of the public list.
CREATE INDEX ix_events_search_vector ON events USING gin (search_vector);
CREATE INDEX ix_events_tags ON events USING gin (tags);
CREATE INDEX ix_events_title_trigram ON events USING gin (title gin_trgm_ops);
-- The sweep completes what has ended, and refunds what was cancelled.
CREATE INDEX ix_events_ended ON events (ends_at) WHERE status = 'published';
CREATE INDEX ix_events_cancelled_at ON events (cancelled_at) WHERE status = 'cancelled';

CREATE TRIGGER touch_events BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

TICKET_TIERS = """
-- Each batch rewrites its tier's counters: half-empty pages keep those versions beside each other (HOT),
-- and the few rows are vacuumed by count, not by share.
CREATE TABLE ticket_tiers (
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    name text NOT NULL,
    description text,
    price bigint NOT NULL,
    quantity integer NOT NULL,
    desired_quantity integer,
    quantity_refusal text,
    sold integer NOT NULL,
    reserved integer NOT NULL,
    recount_due boolean NOT NULL,
    min_per_order integer NOT NULL,
    max_per_order integer NOT NULL,
    max_per_person integer,
    sale_starts_at timestamptz,
    sale_ends_at timestamptz,
    requires_approval boolean NOT NULL,
    sort_order integer NOT NULL,
    is_active boolean NOT NULL,
    is_paused boolean NOT NULL,
    service_rate double precision,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_ticket_tiers PRIMARY KEY (id),
    CONSTRAINT fk_ticket_tiers_event_id FOREIGN KEY (event_id) REFERENCES events (id),
    CONSTRAINT ck_ticket_tiers_name_length CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT ck_ticket_tiers_price CHECK (price >= 0),
    CONSTRAINT ck_ticket_tiers_counters CHECK (sold >= 0 AND reserved >= 0),
    CONSTRAINT ck_ticket_tiers_never_oversold CHECK (sold + reserved <= quantity),
    CONSTRAINT ck_ticket_tiers_desired_quantity CHECK (desired_quantity >= 0),
    CONSTRAINT ck_ticket_tiers_per_order CHECK (min_per_order BETWEEN 1 AND max_per_order),
    CONSTRAINT ck_ticket_tiers_per_person CHECK (max_per_person >= min_per_order),
    CONSTRAINT ck_ticket_tiers_sale_window CHECK (sale_ends_at > sale_starts_at)
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The tiers of an event in the promoter's order.
CREATE INDEX ix_ticket_tiers_event_id_sort_order ON ticket_tiers (event_id, sort_order, id);
-- What the consumers must look at besides waiting orders.
CREATE INDEX ix_ticket_tiers_wishes ON ticket_tiers (id) WHERE desired_quantity IS NOT NULL OR recount_due;

CREATE TRIGGER touch_ticket_tiers BEFORE UPDATE ON ticket_tiers FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""


def upgrade() -> None:
    op.execute(EVENTS)
    op.execute(TICKET_TIERS)


def downgrade() -> None:
    op.execute("DROP TABLE ticket_tiers, events")
