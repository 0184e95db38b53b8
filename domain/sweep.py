"""What is looked for instead of being waited for: stalled steps, clocks that ran out, and what has grown old.

Nothing here is needed while every message arrives; with it, none is needed.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from domain import accounts, erasure, logins, notifications, outgoing, tickets, waitlist
from domain.buyers import write_to_buyer
from domain.messages import Message
from domain.models import Event, IdempotencyKey, Order
from domain.one_by_one import one_by_one
from domain.payments import disputes, events, late_payments, outcomes, reconciliation, refunds, statements
from domain.rules.clocks import Clocks
from domain.rules.states import EventStatus, OrderReason, OrderStage
from domain.transitions import give_up, lock_order

BATCH = 200
KEYS_KEPT = timedelta(days=1)

EXPIRY_REASONS = {
    OrderStage.PARTLY_HELD: OrderReason.INCOMPLETE,
    OrderStage.AWAITING_APPROVAL: OrderReason.APPROVAL_EXPIRED,
    OrderStage.OFFERED: OrderReason.OFFER_EXPIRED,
    OrderStage.HELD: OrderReason.HOLD_EXPIRED,
    OrderStage.AWAITING_PAYMENT: OrderReason.HOLD_EXPIRED,
    OrderStage.PAYMENT_DELAYED: OrderReason.HOLD_EXPIRED,
    OrderStage.PROCESSING: OrderReason.HOLD_EXPIRED,
}


def find_stalled(session: Session, before: datetime) -> list[Message]:
    """Return a message for every row that has waited since before then.

    Tiers need none: each allocator looks at its own every second.
    """
    messages: list[Message] = []
    money = (reconciliation, events, late_payments, refunds, disputes, statements)
    for noun in (*money, tickets, notifications, waitlist, outgoing):
        messages.extend(noun.stalled(session, before))
    return messages


def choose(stalled: Sequence[Message], idle: Collection[str], *, in_busy_queues: int) -> list[Message]:
    """Return what to ring for: all in idle queues; elsewhere the ring is probably among the waiting, so only a few."""
    chosen, by_queue = [], Counter[str]()
    for message in stalled:
        by_queue[message.queue] += 1
        if message.queue in idle or by_queue[message.queue] <= in_busy_queues:
            chosen.append(message)
    return chosen


def expire(sessions: sessionmaker[Session], now: datetime, clocks: Clocks) -> int:
    """End the orders whose clock ran out, each in a transaction of its own; return how many."""
    with sessions() as session:
        due = session.scalars(
            select(Order.id).where(Order.hold_expires_at <= now).order_by(Order.hold_expires_at).limit(BATCH)
        ).all()
    return one_by_one(sessions, due, lambda session, order_id: _expire_one(session, order_id, now, clocks))


def _expire_one(session: Session, order_id: UUID, now: datetime, clocks: Clocks) -> bool:
    order = lock_order(session, order_id)
    if order is None or order.hold_expires_at is None or order.hold_expires_at > now:
        return False
    if order.stage is OrderStage.EXPIRING:
        # Its intent could not be cancelled in time. It is cancelled later, or refunded should it have been paid.
        outcomes.end_unpaid(session, order, order.reason or OrderReason.HOLD_EXPIRED, now)
    elif order.stage is OrderStage.CLOSED:
        late_payments.give_up(session, order, now)
    elif reason := EXPIRY_REASONS.get(order.stage):
        _run_out(session, order, reason, now, clocks)
    else:
        order.hold_expires_at = None
        return False
    return True


def _run_out(session: Session, order: Order, reason: OrderReason, now: datetime, clocks: Clocks) -> None:
    give_up(session, order, reason, now, clocks)
    if order.stage is OrderStage.CLOSED:
        write_to_buyer(session, order, "order_cancelled")


def complete_events(session: Session, now: datetime) -> int:
    """Complete the events that are over; return how many."""
    done = session.execute(
        update(Event)
        .where(Event.status == EventStatus.PUBLISHED, Event.ends_at <= now)
        .values(status=EventStatus.COMPLETED)
        .returning(Event.id)
        .execution_options(synchronize_session=False)
    )
    return len(done.all())


def tidy(session: Session, now: datetime) -> None:
    """Delete what nobody can use any more, and what is left of people who were erased."""
    erasure.redact_echoes(session, now)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - KEYS_KEPT))
    logins.delete_expired(session, now)
    accounts.delete_expired_tokens(session, now)
    statements.delete_superseded(session, now)
    outgoing.delete_old(session, now)
