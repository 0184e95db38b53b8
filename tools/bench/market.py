"""What the bench sells, and to whom: people, events, tiers and orders, written by set-based statements.

Everything has ids that can be computed, so that a hundred thousand rows need no list of them. And everything keeps the
invariants, else the sweep would heal it and raise alarms while something is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from domain.tier_work import lock_key
from tools.bench.database import Database
from tools.bench.patience import wait_until

PEOPLE = 100_000
"""As many as the longest line has places: a person has one order in it, and few before it, as in a crowd."""
BUYERS = 2_000
"""So many of them, the first ones, come themselves, with a request and a token; the others' orders are just there."""
PRICE = 4_500
PROMOTER = 1
PLENTY = 1_000_000_000

_PERSON = "('00000001-0000-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"

_PEOPLE = f"""
    INSERT INTO users (id, email, password_hash, first_name, last_name, role, email_verified, is_active)
    SELECT {_PERSON.format(number="n")}, 'person-' || n || '@example.com', 'nobody logs in', 'Bo', 'Buyer ' || n,
           'user', false, true
    FROM generate_series({PROMOTER}, {PEOPLE + PROMOTER}) AS n
"""  # noqa: S608 numbers of ours
_PROMOTER = f"""
    INSERT INTO promoters (id, user_id, company_name, verification_status, stripe_account_state)
    VALUES ({_PERSON.format(number=PROMOTER)}, {_PERSON.format(number=PROMOTER)}, 'Bench', 'unverified', 'none')
"""  # noqa: S608
_EVENT = f"""
    INSERT INTO events (id, promoter_id, title, slug, starts_at, ends_at, timezone, status, is_featured, is_private,
        capacity, currency, fee_rate_bps, fee_fixed, absorbs_fees, tax_rate_bps, skips_large_groups, published_at)
    VALUES (:event_id, {_PERSON.format(number=PROMOTER)}, 'Bench', :slug, now() + interval '30 days',
        now() + interval '31 days', 'UTC', 'published', false, false, {PLENTY}, 'EUR', 250, 50, false, 1900, true,
        now())
"""  # noqa: S608
_TIERS = f"""
    INSERT INTO ticket_tiers (id, event_id, name, price, quantity, sold, reserved, recount_due, min_per_order,
        max_per_order, max_per_person, requires_approval, sort_order, is_active, is_paused)
    SELECT id, :event_id, 'Standing', {PRICE}, :quantity, 0, 0, false, 1, 10, :max_per_person, false, 0, true,
           :is_paused
    FROM unnest(CAST(:tier_ids AS uuid[])) AS id
"""  # noqa: S608

# Orders take the tiers and the people in turn. `lasting` tells which of them ended in tickets.
_ORDERS = f"""
    CREATE TEMPORARY TABLE placed ON COMMIT DROP AS
    SELECT uuidv7() AS order_id, uuidv7() AS item_id, nextval('sale_sequence') AS sequence,
           {_PERSON.format(number=f"{PROMOTER + 1} + n % {PEOPLE}")} AS user_id,
           (CAST(:tier_ids AS uuid[]))[1 + n % :tiers] AS tier_id
    FROM generate_series(0, :count - 1) AS n;
"""  # noqa: S608
_PLACE = f"""
    INSERT INTO orders (id, sequence, user_id, event_id, currency, subtotal, fees, tax, total, idempotency_key,
        idempotency_fingerprint, stage, status, payment_status, confirmed_at, stripe_payment_intent_id)
    SELECT order_id, sequence, user_id, :event_id, 'EUR', {PRICE}, 0, 0, {PRICE}, order_id::text, 'bench',
        CASE WHEN :sold THEN 'complete' ELSE 'queued' END, CASE WHEN :sold THEN 'confirmed' ELSE 'pending' END,
        CASE WHEN :sold THEN 'completed' ELSE 'pending' END, CASE WHEN :sold THEN now() END,
        CASE WHEN :sold THEN 'pi_' || sequence END
    FROM placed
"""  # noqa: S608
_LINE_UP = f"""
    INSERT INTO order_items (id, order_id, user_id, tier_id, sequence, quantity, unit_price, subtotal, fees, tax,
        inventory_state)
    SELECT item_id, order_id, user_id, tier_id, sequence, 1, {PRICE}, {PRICE}, 0, 0,
        CASE WHEN :sold THEN 'sold' ELSE 'queued' END
    FROM placed
"""  # noqa: S608
_TELL = "INSERT INTO order_timeline (order_id, kind) SELECT order_id, 'accepted' FROM placed"
_TELL_OF_TICKETS = "INSERT INTO order_timeline (order_id, kind) SELECT order_id, 'tickets_issued' FROM placed"
_ISSUE = """
    INSERT INTO tickets (id, order_id, order_item_id, position, tier_id, event_id, holder_id, code, code_version,
        qr_payload, qr_image, status, attendee_name, attendee_email)
    SELECT uuidv7(), order_id, item_id, 1, tier_id, :event_id, user_id, replace(item_id::text, '-', ''), 1, 'drawn',
        'drawn', 'valid', 'Bo Buyer', 'bo@example.com'
    FROM placed
"""
_CHARGE = f"""
    INSERT INTO payment_transactions (id, order_id, kind, attempt, provider, provider_transaction_id, amount, currency,
        status, idempotency_key, confirmations, confirm_due)
    SELECT item_id, order_id, 'charge', 1, 'stripe', 'pi_' || sequence, {PRICE}, 'EUR', 'succeeded', item_id::text, 1,
        false
    FROM placed
"""  # noqa: S608
_BOOK = f"""
    INSERT INTO ledger_entries (order_id, transaction_id, kind, amount, currency, provider_reference)
    SELECT order_id, item_id, 'charge', {PRICE}, 'EUR', 'ch_' || sequence FROM placed
"""  # noqa: S608
_MAIL = """
    INSERT INTO email_notifications (id, user_id, order_id, template, purpose, recipient, recipient_name, status,
        attempts, sent_at, delivered_at)
    SELECT uuidv7(), user_id, order_id, 'order_confirmed', 'order_confirmed:' || order_id, 'bo@example.com', 'Bo Buyer',
        'delivered', 1, now(), now()
    FROM placed
"""
_COUNT = """
    UPDATE ticket_tiers SET sold = counted.sold
    FROM (SELECT tier_id, count(*) AS sold FROM placed GROUP BY tier_id) AS counted WHERE id = counted.tier_id
"""

_CLOSE = (
    """
    INSERT INTO order_timeline (order_id, kind)
    SELECT id, 'cancelled' FROM orders WHERE event_id = :event_id AND status = 'pending'
    """,
    """
    UPDATE order_items SET inventory_state = 'released'
    WHERE tier_id = ANY(:tier_ids) AND inventory_state IN ('reserved', 'queued')
    """,
    """
    UPDATE orders SET stage = 'closed', status = 'cancelled', reason = 'buyer_cancelled', hold_expires_at = NULL
    WHERE event_id = :event_id AND status = 'pending'
    """,
    # The event before its tiers: the order in which everybody locks.
    "UPDATE events SET status = 'completed' WHERE id = :event_id",
    "UPDATE ticket_tiers SET reserved = 0 WHERE id = ANY(:tier_ids)",
)

_UNOWNED = """
    SELECT count(*) FROM unnest(CAST(:keys AS bigint[])) AS key
    WHERE key NOT IN (SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
                      WHERE locktype = 'advisory' AND granted)
"""


@dataclass(frozen=True, slots=True)
class Sale:
    """One event's tiers, all alike."""

    event_id: UUID
    tier_ids: tuple[UUID, ...]
    quantity: int


def person(number: int) -> UUID:
    """Return the id of a person, counted from 0."""
    return UUID(f"00000001-0000-7000-8000-{PROMOTER + 1 + number:012x}")


class Market:
    """Opens and closes sales, and writes orders that no request made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def settle(self, old_orders: int) -> None:
        """Write the people, and a past in which so many orders were sold, paid and ticketed."""
        self._database.change(_PEOPLE, _PROMOTER)
        past = self.open(tiers=10, quantity=old_orders)
        self.write_sold(past, old_orders)
        self.close(past)

    def open(
        self, *, tiers: int = 1, quantity: int, max_per_person: int | None = None, is_paused: bool = False
    ) -> Sale:
        """Publish an event with so many tiers of this quantity each."""
        sale = Sale(uuid7(), tuple(uuid7() for _ in range(tiers)), quantity)
        values = {"max_per_person": max_per_person, "is_paused": is_paused, "quantity": quantity}
        self._database.change(
            _EVENT,
            _TIERS,
            event_id=sale.event_id,
            slug=f"bench-{sale.event_id}",
            tier_ids=list(sale.tier_ids),
            **values,
        )
        return sale

    def write_waiting(self, sale: Sale, count: int) -> None:
        """Let so many orders wait, spread over the sale's tiers."""
        self._write(sale, count, _PLACE, _LINE_UP, _TELL, sold=False)

    def write_sold(self, sale: Sale, count: int) -> None:
        """Write so many orders of the sale that were paid and have their tickets."""
        steps = (_PLACE, _LINE_UP, _TELL, _CHARGE, _BOOK, _ISSUE, _TELL_OF_TICKETS, _MAIL, _COUNT)
        self._write(sale, count, *steps, sold=True)

    def unpause(self, sale: Sale) -> None:
        """Let a paused sale be served."""
        self._database.change("UPDATE ticket_tiers SET is_paused = false WHERE event_id = :id", id=sale.event_id)

    def wait_for_owners(self, sale: Sale) -> None:
        """Return once each tier belongs to an allocator."""
        keys = [lock_key(tier_id) for tier_id in sale.tier_ids]
        wait_until(lambda: not self._database.rows(_UNOWNED, keys=keys)[0][0], "an allocator owns each tier")

    def close(self, sale: Sale) -> None:
        """End a sale that was measured, so that no clock, sweep or allocator has to do with it any more."""
        self._database.change(*_CLOSE, event_id=sale.event_id, tier_ids=list(sale.tier_ids))

    def _write(self, sale: Sale, count: int, *statements: str, sold: bool) -> None:
        values = {"event_id": sale.event_id, "tier_ids": list(sale.tier_ids), "tiers": len(sale.tier_ids)}
        self._database.change(_ORDERS, *statements, **values, count=count, sold=sold)


def buyers() -> Sequence[UUID]:
    """Return those who come with a request."""
    return [person(number) for number in range(BUYERS)]
