"""How one order moves: under its row lock, along the table of legal moves, with a line in its timeline.

The consumer's set-based moves are in `allocation_records.py`; everybody else moves an order through here.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session, selectinload

from domain import outgoing
from domain.errors import ConflictError
from domain.messages import CancelPayment, ServeTier, announce
from domain.models import Order, TimelineEntry, Waitlist
from domain.rules.clocks import Clocks
from domain.rules.lifecycle import PAYABLE, may_move, status_of
from domain.rules.states import InventoryState, OrderReason, OrderSource, OrderStage, WaitlistStatus, WebhookType


def lock_order(session: Session, order_id: UUID) -> Order | None:
    """Lock an order against other movers and return it as it is now, with its items; None if there is none.

    The lock is NO KEY UPDATE, so that an insert that refers to the order never waits. It is always taken before
    the event's and the tiers'.
    """
    return session.scalar(
        select(Order)
        .where(Order.id == order_id)
        .options(selectinload(Order.items))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def write(session: Session, order: Order, kind: str, **data: Any) -> None:
    """Append a line to the order's timeline. `data` is what the buyer may read."""
    session.add(TimelineEntry(order_id=order.id, kind=kind, data=data))


def move(session: Session, order: Order, stage: OrderStage, kind: str, **data: Any) -> None:
    """Move a locked order to another stage and say so in its timeline.

    Raises `ConflictError` if the table of legal moves has no such move.
    """
    if not may_move(order.stage, stage):
        raise ConflictError(f"An order in stage {order.stage} cannot become {stage}.", code="illegal-move")
    order.stage = stage
    order.status = status_of(stage)
    write(session, order, kind, **data)


def close(session: Session, order: Order, reason: OrderReason, now: datetime) -> None:
    """End a locked order that was not paid: its stock goes back through its tiers' queues."""
    move(session, order, OrderStage.CLOSED, "cancelled", reason=reason)
    order.reason = reason
    order.cancelled_at = now
    order.hold_expires_at = None
    release(session, order)
    if order.source is OrderSource.WAITLIST:
        _end_offer(session, order, reason, now)
    outgoing.tell_of_order(session, order, WebhookType.ORDER_CANCELLED)


def _end_offer(session: Session, order: Order, reason: OrderReason, now: datetime) -> None:
    """Tell the waitlist's entry how its unanswered offer ended."""
    declined = reason in {OrderReason.DECLINED, OrderReason.BUYER_CANCELLED}
    session.execute(
        update(Waitlist)
        .where(Waitlist.offered_order_id == order.id, Waitlist.status == WaitlistStatus.OFFERED)
        .values(
            status=WaitlistStatus.DECLINED if declined else WaitlistStatus.EXPIRED,
            response="declined" if declined else None,
            responded_at=now if declined else None,
        )
    )


def release(session: Session, order: Order) -> None:
    """Ask the tiers' consumers to take the order's stock back, and to pass over what still waits."""
    for item in order.items:
        if item.inventory_state in {InventoryState.QUEUED, InventoryState.RESERVED, InventoryState.SOLD}:
            item.desired_state = InventoryState.RELEASED
            announce(session, ServeTier(item.tier_id))


def give_up(session: Session, order: Order, reason: OrderReason, now: datetime, clocks: Clocks) -> None:
    """End a locked order for this reason; one that has an intent is first `expiring`, since it may have been paid.

    Its stock is kept meanwhile, but no longer than `expiring_limit_seconds`, whatever becomes of the message.
    """
    if order.stage in PAYABLE or (order.stage is OrderStage.HELD and order.total > 0):
        move(session, order, OrderStage.EXPIRING, "expiring", reason=reason)
        order.reason = reason
        order.hold_expires_at = now + timedelta(seconds=clocks.expiring_limit_seconds)
        announce(session, CancelPayment(order.id), order.request_id)
    else:
        close(session, order, reason, now)
