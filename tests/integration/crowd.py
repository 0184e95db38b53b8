"""A database with a hundred thousand rows in every table that grows with sales, by one set-based statement each."""

from uuid import UUID

from sqlalchemy import text

ROWS = 100_000
EVENTS = 20_000
"""What is for sale grows slower than what is sold."""
WAITING = 20_000
"""Orders that wait for the one hot tier; all others are spread over a thousand tiers and further on."""
TIERS = 1_000
HOT = 1
BUYERS = 10_000

KINDS = (
    "user",
    "promoter",
    "event",
    "tier",
    "order",
    "item",
    "ticket",
    "entry",
    "attempt",
    "mail",
    "token",
    "log",
    "scan",
    "transfer",
    "hook",
    "delivery",
)


def key(kind: str, number: int) -> UUID:
    """Return the id of the row of this kind and number, as the statements below make it."""
    return UUID(f"{KINDS.index(kind):08x}-0000-7000-8000-{number:012x}")


def _id(kind: str, number: str = "n") -> str:
    return f"('{KINDS.index(kind):08x}-0000-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"


_TIER = f"CASE WHEN n <= {WAITING} THEN {HOT} ELSE 2 + n % {TIERS - 1} END"

# Of the orders that no longer wait, one in fifty is held, one is to be paid, one is issuing; the others have ended.
_STAGE = f"CASE WHEN n <= {WAITING} THEN 'queued' ELSE (ARRAY['held', 'awaiting_payment', 'issuing'])[1 + n % 50] END"

STATEMENTS = (
    f"""
    INSERT INTO users (id, email, password_hash, first_name, last_name, role, email_verified, email_verified_at,
        is_active)
    SELECT {_id("user")}, 'person-' || n || '@example.com', 'x', 'First' || n, 'Last' || n,
        CASE WHEN n <= {TIERS} THEN 'promoter' ELSE 'user' END, true, now(), true
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO promoters (id, user_id, company_name, verification_status, stripe_account_state)
    SELECT {_id("promoter")}, {_id("user")}, 'Company ' || n, 'unverified', 'none'
    FROM generate_series(1, {TIERS}) AS n
    """,
    f"""
    INSERT INTO events (id, promoter_id, title, slug, category, tags, city, starts_at, ends_at, timezone, status,
        is_featured, is_private, capacity, currency, fee_rate_bps, fee_fixed, absorbs_fees, tax_rate_bps,
        skips_large_groups, published_at)
    SELECT {_id("event")}, {_id("promoter", f"1 + n % {TIERS}")}, 'Concert number ' || n, 'concert-' || n,
        'category ' || n % 50, ARRAY['tag' || n % 500, 'live'], 'City ' || n % 200,
        now() + n % 8000 * interval '1 hour' - interval '1000 hours',
        now() + n % 8000 * interval '1 hour' - interval '997 hours', 'UTC',
        CASE WHEN n % 4 = 0 THEN 'draft' ELSE 'published' END, n % 1000 = 1, n % 10 = 0, 10000, 'EUR', 0, 0, false, 0,
        true, CASE WHEN n % 4 = 0 THEN NULL ELSE now() END
    FROM generate_series(1, {EVENTS}) AS n
    """,
    f"""
    INSERT INTO ticket_tiers (id, event_id, name, price, quantity, sold, reserved, recount_due, min_per_order,
        max_per_order, requires_approval, sort_order, is_active, is_paused)
    SELECT {_id("tier")}, {_id("event")}, 'Tier', 1000, 100000, 0, 0, false, 1, 10, false, 0, true, false
    FROM generate_series(1, {EVENTS}) AS n
    """,
    f"""
    INSERT INTO orders (id, sequence, user_id, event_id, currency, subtotal, fees, tax, total, idempotency_key,
        idempotency_fingerprint, stage, status, reason, payment_status, hold_expires_at, stripe_payment_intent_id,
        confirmed_at, updated_at)
    SELECT {_id("order")}, n, {_id("user", f"1 + n % {BUYERS}")}, {_id("event", _TIER)}, 'EUR', 1000, 0, 0, 1000,
        'key-' || n, 'f', coalesce(stage, CASE WHEN n % 3 = 0 THEN 'closed' ELSE 'complete' END),
        CASE WHEN stage IS NULL AND n % 3 = 0 THEN 'cancelled' WHEN stage IS NULL OR stage = 'issuing' THEN 'confirmed'
            ELSE 'pending' END,
        CASE WHEN stage IS NULL AND n % 3 = 0 THEN 'sold_out' END,
        CASE WHEN stage IS NULL AND n % 3 > 0 THEN 'completed' ELSE 'pending' END,
        CASE WHEN stage IN ('held', 'awaiting_payment') THEN now() + (n % 600 - 60) * interval '1 second' END,
        CASE WHEN stage IN ('awaiting_payment', 'issuing') OR stage IS NULL THEN 'pi_' || n END,
        CASE WHEN stage IS NULL AND n % 3 > 0 THEN now() - n % 500 * interval '1 hour' END,
        now() - n % 3600 * interval '1 second'
    FROM (SELECT n, {_STAGE} AS stage FROM generate_series(1, {ROWS}) AS n) AS planned
    """,
    f"""
    INSERT INTO order_items (id, order_id, user_id, tier_id, sequence, quantity, unit_price, subtotal, fees, tax,
        inventory_state, desired_state)
    SELECT {_id("item")}, {_id("order")}, {_id("user", f"1 + n % {BUYERS}")}, {_id("tier", _TIER)}, n, 1, 1000, 1000, 0,
        0,
        CASE WHEN n <= {WAITING} THEN 'queued' WHEN n % 50 IN (0, 1) THEN 'reserved' WHEN n % 3 = 0 THEN 'refused'
            ELSE 'sold' END,
        CASE WHEN n > {WAITING} AND n % 50 = 2 THEN 'sold' END
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO order_timeline (order_id, kind)
    SELECT {_id("order")}, 'accepted' FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO tickets (id, order_id, order_item_id, position, tier_id, event_id, holder_id, code, code_version,
        qr_payload, qr_image, status, attendee_name, attendee_email)
    SELECT {_id("ticket")}, {_id("order")}, {_id("item")}, 1, {_id("tier", _TIER)}, {_id("event", _TIER)},
        {_id("user", f"1 + n % {BUYERS}")}, md5(n::text), 1, CASE WHEN n % 100 > 0 THEN 'p' END,
        CASE WHEN n % 100 > 0 THEN 'i' END, 'valid', 'Ada', 'ada@example.com'
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO check_in_scans (id, event_id, ticket_id, scanned_by_id, nonce, fingerprint, result, is_offline,
        is_admitted, scanned_at)
    SELECT {_id("scan")}, {_id("event", _TIER)}, {_id("ticket")}, {_id("user", f"1 + n % {TIERS}")}, n::text,
        sha256(n::text::bytea), CASE WHEN n % 50 = 0 THEN 'already_used' ELSE 'accepted' END, n % 100 = 0, n % 50 > 0,
        now()
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO door_counts (id, event_id, quarter, gate, result, is_offline, scans, inside)
    SELECT {_id("scan")}, {_id("event")}, date_trunc('hour', now()), 'North', 'accepted', false, 9, 9
    FROM generate_series(1, {EVENTS}) AS n
    """,
    f"""
    INSERT INTO ticket_transfers (id, ticket_id, sender_id, recipient_email, status, expires_at, ended_at)
    SELECT {_id("transfer")}, {_id("ticket")}, {_id("user", f"1 + n % {BUYERS}")},
        'person-' || 1 + n * 7 % {BUYERS} || '@example.com', CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'declined' END,
        now() + n % 600 * interval '1 minute', CASE WHEN n % 100 > 0 THEN now() END
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO waitlist (id, user_id, event_id, tier_id, quantity, sequence, status, responded_at, response)
    SELECT {_id("entry")}, {_id("user")}, {_id("event", f"1 + n % {TIERS}")}, {_id("tier", f"1 + n % {TIERS}")}, 1,
        {ROWS} + n, CASE WHEN n % 4 = 0 THEN 'waiting' ELSE 'declined' END,
        CASE WHEN n % 4 > 0 THEN now() END, CASE WHEN n % 4 > 0 THEN 'declined' END
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO payment_transactions (id, order_id, kind, attempt, provider, provider_transaction_id, amount, currency,
        status, idempotency_key, confirmations, confirm_due, updated_at)
    SELECT {_id("attempt")}, {_id("order")}, 'charge', 1, 'stripe', 'pi_' || n, 1000, 'EUR',
        CASE WHEN n % 50 = 1 THEN 'requires_payment_method' ELSE 'succeeded' END, 'key-' || n, 0, false,
        now() - n % 3600 * interval '1 second'
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO ledger_entries (order_id, transaction_id, kind, amount, currency, provider_reference)
    SELECT {_id("order")}, {_id("attempt")}, 'charge', 1000, 'EUR', 'ch_' || n FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO webhook_inbox (id, provider, provider_event_id, type, payload, processed_at, attempts)
    SELECT {_id("log")}, CASE WHEN n % 2 = 0 THEN 'stripe' ELSE 'sendgrid' END, 'evt_' || n, 'type',
        CASE WHEN n % 2 = 0 THEN jsonb_set('{{"data": {{"object": {{}}}}}}', '{{data,object,payment_intent}}',
            to_jsonb('pi_' || n)) ELSE jsonb_build_object('notification_id', {_id("mail")}) END,
        CASE WHEN n % 500 > 1 THEN now() END, 0
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO email_notifications (id, user_id, order_id, event_id, template, purpose, recipient, recipient_name,
        status, attempts, sent_at, provider_message_id)
    SELECT {_id("mail")}, {_id("user")}, {_id("order")}, {_id("event", _TIER)}, 'order_confirmed',
        'order_confirmed:' || {_id("order")},
        'ada-' || n || '@example.com', 'Ada',
        CASE n % 200 WHEN 0 THEN 'pending' WHEN 1 THEN 'bounced' ELSE 'delivered' END, 0, now(), 'msg-' || n
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO webhook_endpoints (id, promoter_id, url, types, secret_id, secret_kid)
    SELECT {_id("hook")}, {_id("promoter")}, 'https://hooks.example/' || n, '{{order.confirmed}}', {_id("hook")}, 'w1'
    FROM generate_series(1, {TIERS}) AS n
    """,
    f"""
    INSERT INTO webhook_deliveries (id, endpoint_id, type, data, status, delivered_at, next_attempt_at, created_at)
    SELECT {_id("delivery")}, {_id("hook", f"1 + n % {TIERS}")}, 'order.confirmed', '{{}}',
        CASE WHEN n % 200 = 0 THEN 'pending' ELSE 'delivered' END, CASE WHEN n % 200 > 0 THEN now() END,
        CASE WHEN n % 200 = 0 THEN now() END, now() - n * interval '26 seconds'
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO refresh_tokens (id, user_id, family_id, expires_at, revoked_at)
    SELECT {_id("token")}, {_id("user")}, {_id("token")}, now() + interval '7 days',
        CASE WHEN n % 2 = 0 THEN now() END
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO audit_logs (id, actor_id, action, entity_type, entity_id)
    SELECT {_id("log")}, {_id("user", f"1 + n % {TIERS}")}, 'event.update', 'Event', {_id("event", f"1 + n % {EVENTS}")}
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO audit_personal_values (audit_log_id, subject_id, field, old_value, new_value)
    SELECT {_id("log")}, {_id("user")}, 'first_name', 'Ada', 'Augusta' FROM generate_series(1, {ROWS}) AS n
    """,
)


def fill(connection) -> None:
    """Write all rows as superuser, without looking each foreign key up, and analyse them."""
    connection.execute(text("SET session_replication_role = replica"))
    for statement in STATEMENTS:
        connection.execute(text(statement))
    connection.commit()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    # New rows of a GIN index wait in a list until a vacuum.
    connection.execute(text("VACUUM users, events"))
    connection.execute(text("ANALYZE"))
