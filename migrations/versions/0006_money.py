"""Money: attempts to move it, the ledger of what moved, and the webhook inbox.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PAYMENT_TRANSACTIONS = """
-- As with users, no plan is made for a handful of rows.
CREATE TABLE payment_transactions (
    id uuid NOT NULL,
    order_id uuid NOT NULL,
    parent_id uuid,
    kind varchar(32) NOT NULL,
    attempt integer NOT NULL,
    provider text NOT NULL,
    provider_transaction_id text,
    provider_account_id text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    status varchar(32) NOT NULL,
    error_code text,
    error_message text,
    raw_reference jsonb,
    idempotency_key text NOT NULL,
    called_at timestamptz,
    payment_method text,
    confirmations integer NOT NULL,
    confirm_due boolean NOT NULL,
    next_action jsonb,
    reason text,
    requested_by_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_payment_transactions PRIMARY KEY (id),
    CONSTRAINT uq_payment_transactions_order_id_kind_attempt UNIQUE (order_id, kind, attempt),
    CONSTRAINT uq_payment_transactions_idempotency_key UNIQUE (idempotency_key),
    CONSTRAINT fk_payment_transactions_order_id FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT fk_payment_transactions_parent_id FOREIGN KEY (parent_id) REFERENCES payment_transactions (id),
    CONSTRAINT fk_payment_transactions_requested_by_id FOREIGN KEY (requested_by_id) REFERENCES users (id),
    CONSTRAINT ck_payment_transactions_amount CHECK (amount > 0),
    CONSTRAINT ck_payment_transactions_currency_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT ck_payment_transactions_counts CHECK (attempt > 0 AND confirmations >= 0),
    CONSTRAINT ck_payment_transactions_parent CHECK ((kind = 'charge') = (parent_id IS NULL)),
    CONSTRAINT ck_payment_transactions_confirm_has_method CHECK (
        NOT confirm_due OR payment_method IS NOT NULL
    ),
    CONSTRAINT ck_payment_transactions_attempt_kind CHECK (kind IN ('charge', 'refund', 'dispute')),
    CONSTRAINT ck_payment_transactions_attempt_status CHECK (
        status IN ('created', 'requires_payment_method', 'requires_action', 'processing', 'succeeded',
            'failed', 'cancelled', 'unknown')
    )
)
WITH (autovacuum_analyze_threshold = 2000);

-- A webhook or an operator names the provider's object.
CREATE UNIQUE INDEX uq_payment_transactions_provider ON payment_transactions (provider, provider_transaction_id)
    WHERE provider_transaction_id IS NOT NULL;
-- One live intent per order.
CREATE UNIQUE INDEX uq_payment_transactions_live_charge ON payment_transactions (order_id)
    WHERE kind = 'charge'
        AND status IN ('created', 'requires_payment_method', 'requires_action', 'processing', 'unknown');
-- The reconciler: attempts whose outcome is still to come, oldest look first.
CREATE INDEX ix_payment_transactions_open ON payment_transactions (kind, updated_at)
    WHERE status IN ('created', 'requires_payment_method', 'requires_action', 'processing', 'unknown');
-- The refunds of a charge.
CREATE INDEX ix_payment_transactions_parent_id ON payment_transactions (parent_id);

CREATE TRIGGER touch_payment_transactions BEFORE UPDATE ON payment_transactions
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
"""

LEDGER_ENTRIES = """
CREATE TABLE ledger_entries (
    id bigint GENERATED ALWAYS AS IDENTITY,
    order_id uuid NOT NULL,
    transaction_id uuid NOT NULL,
    kind varchar(32) NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    provider_reference text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_ledger_entries PRIMARY KEY (id),
    CONSTRAINT fk_ledger_entries_order_id FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT fk_ledger_entries_transaction_id FOREIGN KEY (transaction_id) REFERENCES payment_transactions (id),
    CONSTRAINT ck_ledger_entries_amount CHECK (amount <> 0),
    CONSTRAINT ck_ledger_entries_sign CHECK (
        kind = 'fee' OR (kind IN ('charge', 'reversal')) = (amount > 0)
    ),
    CONSTRAINT ck_ledger_entries_currency_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT ck_ledger_entries_ledger_kind CHECK (
        kind IN ('charge', 'fee', 'refund', 'dispute', 'reversal')
    )
);

-- A movement is written once, and undone once, however often it is reported.
CREATE UNIQUE INDEX uq_ledger_entries_movement ON ledger_entries (transaction_id, kind, (amount > 0));
-- The money of an order, and a statement over a day.
CREATE INDEX ix_ledger_entries_order_id ON ledger_entries (order_id);
CREATE INDEX ix_ledger_entries_at ON ledger_entries USING brin (at);

-- The owner too only adds; TRUNCATE stays possible for those who reset a whole database.
CREATE TRIGGER only_added_ledger_entries BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

WEBHOOK_INBOX = """
CREATE TABLE webhook_inbox (
    id uuid NOT NULL,
    provider text NOT NULL,
    provider_event_id text NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    attempts integer NOT NULL,
    error text,
    CONSTRAINT pk_webhook_inbox PRIMARY KEY (id),
    CONSTRAINT uq_webhook_inbox_provider_provider_event_id UNIQUE (provider, provider_event_id),
    CONSTRAINT ck_webhook_inbox_provider CHECK (provider IN ('stripe', 'sendgrid'))
);

-- The sweep: what was acknowledged and not handled yet.
CREATE INDEX ix_webhook_inbox_unprocessed ON webhook_inbox (received_at) WHERE processed_at IS NULL;
-- The admin's list by type, newest first.
CREATE INDEX ix_webhook_inbox_provider_type_id ON webhook_inbox (provider, type, id);
"""


def upgrade() -> None:
    op.execute(PAYMENT_TRANSACTIONS)
    op.execute(LEDGER_ENTRIES)
    op.execute(WEBHOOK_INBOX)


def downgrade() -> None:
    op.execute("DROP TABLE webhook_inbox, ledger_entries, payment_transactions")
