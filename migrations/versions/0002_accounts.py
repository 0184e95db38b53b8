"""People: users, promoters, and the tokens that let them in.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

USERS = """
-- A connection keeps its plan of a foreign key's check. One that was made when the statistics said "empty" or "a few
-- rows" reads the whole table for each row that refers to it, and made a batch of orders eleven times slower. So no
-- migration analyses an empty table, and the first automatic analysis waits until an index is the better plan.
CREATE TABLE users (
    id uuid NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    first_name text NOT NULL,
    last_name text NOT NULL,
    phone text,
    role varchar(32) NOT NULL,
    email_verified boolean NOT NULL,
    email_verified_at timestamptz,
    is_active boolean NOT NULL,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT ck_users_email_shape CHECK (email LIKE '%_@_%'),
    CONSTRAINT ck_users_email_verified_when CHECK (email_verified = (email_verified_at IS NOT NULL)),
    CONSTRAINT ck_users_user_role CHECK (role IN ('user', 'promoter', 'admin'))
)
WITH (autovacuum_analyze_threshold = 2000);

-- Log-in, and one account per address whatever its case.
CREATE UNIQUE INDEX uq_users_email_lower ON users (lower(email)) WHERE deleted_at IS NULL;
-- The admin's list of users by role, newest first.
CREATE INDEX ix_users_role_id ON users (role, id);
-- The admin's look-up by a part of a name or address.
CREATE INDEX ix_users_search ON users USING gin ((first_name || ' ' || last_name || ' ' || email) gin_trgm_ops);

CREATE TRIGGER touch_users BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

PROMOTERS = """
CREATE TABLE promoters (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    company_name text NOT NULL,
    description text,
    website text,
    tax_id text,
    verification_status varchar(32) NOT NULL,
    verified_at timestamptz,
    stripe_account_id text,
    stripe_account_state varchar(32) NOT NULL,
    address_line1 text,
    address_line2 text,
    city text,
    region text,
    postal_code text,
    country text,
    fee_rate_bps integer,
    fee_fixed integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_promoters PRIMARY KEY (id),
    CONSTRAINT uq_promoters_user_id UNIQUE (user_id),
    CONSTRAINT uq_promoters_stripe_account_id UNIQUE (stripe_account_id),
    CONSTRAINT fk_promoters_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT ck_promoters_country_iso CHECK (country ~ '^[A-Z]{2}$'),
    CONSTRAINT ck_promoters_fee_rate CHECK (fee_rate_bps BETWEEN 0 AND 10000),
    CONSTRAINT ck_promoters_fee_fixed CHECK (fee_fixed >= 0),
    CONSTRAINT ck_promoters_verified_when CHECK (
        (verification_status = 'verified') = (verified_at IS NOT NULL)
    ),
    CONSTRAINT ck_promoters_stripe_account_has_state CHECK (
        (stripe_account_id IS NULL) = (stripe_account_state = 'none')
    ),
    CONSTRAINT ck_promoters_verification_status CHECK (
        verification_status IN ('unverified', 'pending', 'verified', 'rejected')
    ),
    CONSTRAINT ck_promoters_stripe_account_state CHECK (
        stripe_account_state IN ('none', 'pending', 'ready', 'restricted')
    )
);

-- The admin's list of who waits for verification.
CREATE INDEX ix_promoters_pending ON promoters (created_at) WHERE verification_status = 'pending';

CREATE TRIGGER touch_promoters BEFORE UPDATE ON promoters FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

REFRESH_TOKENS = """
CREATE TABLE refresh_tokens (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    family_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    revoked_at timestamptz,
    ip text,
    user_agent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_refresh_tokens PRIMARY KEY (id),
    CONSTRAINT fk_refresh_tokens_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT ck_refresh_tokens_expires_later CHECK (expires_at > created_at)
);

-- Revoking a family, and all of a user's families.
CREATE INDEX ix_refresh_tokens_family_id ON refresh_tokens (family_id);
CREATE INDEX ix_refresh_tokens_user_id_family_id ON refresh_tokens (user_id, family_id)
    WHERE revoked_at IS NULL;
-- The sweep deletes what has expired.
CREATE INDEX ix_refresh_tokens_expires_at ON refresh_tokens (expires_at);
"""

ACCOUNT_TOKENS = """
CREATE TABLE account_tokens (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    purpose varchar(32) NOT NULL,
    token_hash text NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_account_tokens PRIMARY KEY (id),
    CONSTRAINT uq_account_tokens_token_hash UNIQUE (token_hash),
    CONSTRAINT fk_account_tokens_user_id FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT ck_account_tokens_expires_later CHECK (expires_at > created_at),
    CONSTRAINT ck_account_tokens_account_token_purpose CHECK (purpose IN ('verify_email', 'reset_password'))
);

-- A new token spends the user's older ones of the same purpose.
CREATE INDEX ix_account_tokens_user_id_purpose ON account_tokens (user_id, purpose) WHERE used_at IS NULL;
-- The sweep deletes what has expired.
CREATE INDEX ix_account_tokens_expires_at ON account_tokens (expires_at);
"""


def upgrade() -> None:
    op.execute(USERS)
    op.execute(PROMOTERS)
    op.execute(REFRESH_TOKENS)
    op.execute(ACCOUNT_TOKENS)


def downgrade() -> None:
    op.execute("DROP TABLE account_tokens, refresh_tokens, promoters, users")
