"""What operators ask of the rows: how much waits where, and for how long. It only reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from domain.messages import tier_queue
from domain.models import EmailNotification, Event, Order, TicketTier, WebhookEvent
from domain.notifications import OPEN
from domain.rules.states import EventStatus
from domain.tier_work import MEMBERS_CLASS


@dataclass(frozen=True, slots=True)
class Waiting:
    """The line before a tier; `since` is when the first in it was accepted."""

    tier_id: UUID
    orders: int
    since: datetime
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the rows right now."""

    lines: list[Waiting]
    mails: dict[str, int]
    """Mails that may still have to be sent, by status."""
    events: dict[str, int]
    """Webhook events that are not handled yet, by provider."""
    owned_tiers: dict[str, int]
    """How many tiers each allocator owns, which should work all of this off."""


# Both halves walk ix_order_items_line: the count, and the first of each line.
_LINES = text("""
    WITH lines AS (
        SELECT tier_id, count(*) AS orders, min(sequence) AS first
        FROM order_items WHERE inventory_state = 'queued' AND desired_state IS NULL
        GROUP BY tier_id
    )
    SELECT lines.tier_id, lines.orders, placed.created_at AS since, tier.is_paused
    FROM lines
    JOIN order_items item ON item.tier_id = lines.tier_id AND item.sequence = lines.first
        AND item.inventory_state = 'queued' AND item.desired_state IS NULL
    JOIN orders placed ON placed.id = item.order_id
    JOIN ticket_tiers tier ON tier.id = lines.tier_id
    ORDER BY lines.tier_id
""")


def waiting_lines(session: Session) -> list[Waiting]:
    """Return the lines in which at least one order waits to be served."""
    return [Waiting(*row) for row in session.execute(_LINES)]


def oldest_waiting(lines: Sequence[Waiting]) -> datetime | None:
    """Return since when the longest waiting order waits; those of paused tiers wait on purpose."""
    return min((line.since for line in lines if not line.is_paused), default=None)


def read_backlog(session: Session) -> Backlog:
    """Read what waits; each query has a partial index over just that."""
    mails = select(EmailNotification.status, func.count()).where(EmailNotification.status.in_(OPEN))
    events = select(WebhookEvent.provider, func.count()).where(WebhookEvent.processed_at.is_(None))
    return Backlog(
        lines=waiting_lines(session),
        mails=_count(session, mails.group_by(EmailNotification.status)),
        events=_count(session, events.group_by(WebhookEvent.provider)),
        owned_tiers=count_owned_tiers(session),
    )


def count_stages(session: Session) -> dict[str, int]:
    """Count the orders by stage. It reads every order: ask seldom."""
    return _count(session, select(Order.stage, func.count()).group_by(Order.stage))


# Charges are nearly all of the rows, and all of them are passed over.
_ATTENTION = text("""
    WITH odd AS (SELECT * FROM payment_transactions WHERE kind <> 'charge' OR error_code = 'mismatch')
    SELECT 'refund_failed', count(*) FROM odd
    WHERE kind = 'refund' AND status = 'failed' AND error_code IS DISTINCT FROM 'disputed'
        AND NOT EXISTS (
            SELECT FROM odd AS later
            WHERE later.kind = 'refund' AND later.order_id = odd.order_id AND later.attempt > odd.attempt
        )
    UNION ALL
    SELECT 'refund_overdue', count(*) FROM odd
    WHERE kind = 'refund' AND status IN ('created', 'processing', 'unknown') AND created_at < now() - interval '1 day'
    UNION ALL
    SELECT 'mismatch', count(*) FROM odd WHERE error_code = 'mismatch'
    UNION ALL
    SELECT 'dispute_open', count(*) FROM odd WHERE kind = 'dispute' AND status = 'processing'
    UNION ALL
    SELECT 'event_unmatched', count(*) FROM webhook_inbox
    WHERE provider = 'stripe' AND processed_at IS NULL AND received_at < now() - interval '1 hour'
""")


def count_attention(session: Session) -> dict[str, int]:
    """Count the money that a person should look at, by what is wrong. It reads every refund: ask seldom.

    A failed refund counts until another of its order is asked for.
    """
    return {str(what): count for what, count in session.execute(_ATTENTION)}


_BREACHES = text("""
    SELECT broken.name, sum(jsonb_array_length(broken.ids)) FROM inspections, jsonb_each(breaches) AS broken (name, ids)
    GROUP BY broken.name
""")


def count_breaches(session: Session) -> dict[str, int]:
    """Count the rows that break an invariant for good, by its name, as the sweep last saw them."""
    return {str(name): int(count) for name, count in session.execute(_BREACHES)}


_UNINSPECTED = text("""
    SELECT min(coalesce(inspections.due_at, events.published_at))
    FROM events LEFT JOIN inspections ON inspections.event_id = events.id
    WHERE events.published_at IS NOT NULL
""")


def inspection_due(session: Session) -> datetime | None:
    """Return since when, or when, the next event's invariants are to be looked at; None if there is no event."""
    due: datetime | None = session.scalar(_UNINSPECTED)
    return due


_OWNED_TIERS = text("""
    SELECT split_part(session.application_name, ' ', 2), count(*) FILTER (WHERE lock.objsubid = 1)
    FROM pg_locks AS lock JOIN pg_stat_activity AS session USING (pid)
    WHERE lock.locktype = 'advisory' AND lock.granted
      AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY session.pid, session.application_name
    HAVING bool_or(lock.objsubid = 2 AND lock.classid = :members)
""")


def count_owned_tiers(session: Session) -> dict[str, int]:
    """Count the tiers that each living allocator owns; allocators are named by process id and host."""
    rows = session.execute(_OWNED_TIERS, {"members": MEMBERS_CLASS})
    return {str(name): count for name, count in rows}


def tier_queues(session: Session, now: datetime) -> list[str]:
    """Return the names of the queues of all tiers whose event is still to come, or going on."""
    tiers = session.scalars(
        select(TicketTier.id)
        .join(Event, Event.id == TicketTier.event_id)
        .where(Event.status == EventStatus.PUBLISHED, Event.ends_at > now)
        .order_by(TicketTier.id)
    )
    return [tier_queue(tier_id) for tier_id in tiers]


def _count(session: Session, query: Select[Any, int]) -> dict[str, int]:
    return {str(name): count for name, count in session.execute(query)}
