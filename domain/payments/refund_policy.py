"""Who may ask for a refund, and when: promoters and admins always, buyers where their event's policy says so."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session, joinedload

from domain.audit import Actor
from domain.errors import ConflictError, NotFoundError
from domain.models import Event, Order, Ticket
from domain.ownership import may
from domain.payments.returned_tickets import LIVE
from domain.rules.lifecycle import CONFIRMED
from domain.rules.refunds import buyers_deadline
from domain.rules.states import TeamRight, TicketStatus
from domain.transitions import lock_order

NOT_ALLOWED = "refund-not-allowed"


def lock_for_refund(session: Session, order_id: UUID, actor: Actor) -> tuple[Order, Event, bool]:
    """Lock an order for who may ask for its refund; tell, too, whether that is a seller, who needs no policy.

    Raises `NotFoundError` for strangers.
    """
    order = lock_order(session, order_id)
    if order is None:
        raise NotFoundError("order")
    event = session.get_one(Event, order.event_id, options=[joinedload(Event.promoter)], populate_existing=True)
    if may(session, event, actor, TeamRight.SELL):
        return order, event, True
    if order.user_id == actor.user_id:
        return order, event, False
    raise NotFoundError("order")


def require_policy(order: Order, event: Event, tickets: Sequence[Ticket], now: datetime, *, named: bool) -> None:
    """Raise `ConflictError` unless the event's policy lets the buyer give these tickets back now."""
    deadline = _deadline(event)
    if deadline is None:
        raise ConflictError("Only the promoter refunds tickets of this event.", code=NOT_ALLOWED)
    if now >= deadline:
        raise ConflictError(f"Refunds could be asked for until {deadline.isoformat()}.", code="refund-window-over")
    for index, ticket in enumerate(tickets):
        if obstacle := _obstacle(order, ticket):
            pointer = f"/tickets/{index}" if named else None
            hint = "" if named else " Name the others to give those back."
            raise ConflictError(f"{obstacle}{hint}", code=NOT_ALLOWED, pointer=pointer)


def may_refund(session: Session, order: Order, tickets: Sequence[Ticket], viewer: Actor, now: datetime) -> bool:
    """Tell whether the viewer could ask for a refund of the order now, in whole or by ticket."""
    left = [ticket for ticket in tickets if ticket.status in LIVE and ticket.refund_id is None]
    if order.stage not in CONFIRMED or order.refunded >= order.total or not left:
        return False
    if may(session, order.event, viewer, TeamRight.SELL):
        return True
    deadline = _deadline(order.event)
    is_open = deadline is not None and now < deadline
    return order.user_id == viewer.user_id and is_open and any(_obstacle(order, ticket) is None for ticket in left)


def _deadline(event: Event) -> datetime | None:
    return buyers_deadline(event.starts_at, event.buyer_refund_hours, event.refund_granted_until)


def _obstacle(order: Order, ticket: Ticket) -> str | None:
    """Say why a buyer may not give a ticket back."""
    if ticket.status is TicketStatus.USED:
        return "Somebody went in with this ticket."
    if ticket.blocked_at is not None:
        return "A dispute about the payment blocks this ticket."
    if ticket.holder_id != order.user_id:
        return "This ticket was handed on to somebody else."
    return None
