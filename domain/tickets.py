"""Tickets of an order: issued in the transaction that settles it, rendered afterwards, withdrawn when it is undone.

How they change hands is in `transfers.py`.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, select, update
from sqlalchemy.orm import Session, defer, joinedload, sessionmaker

from domain import transfer_mails
from domain.buyers import buyer_of, write_to_buyer
from domain.errors import NotFoundError
from domain.messages import Message, RenderTickets, SendMail, announce
from domain.models import Order, OrderItem, PaymentTransaction, Ticket, User
from domain.models.payments import OPEN_STATUSES
from domain.ports import QRRenderer, Signer, TicketClaims
from domain.rules.lifecycle import CONFIRMED
from domain.rules.states import AttemptKind, OrderStage, TicketStatus
from domain.ticket_codes import draw_code
from domain.transitions import lock_order, move

STALLED_LIMIT = 500


def issue(session: Session, order: Order, now: datetime) -> list[Ticket]:
    """Issue the tickets of a locked order that is being confirmed, one row per seat, and ask for their pictures.

    While a payment of the order is disputed they open no door.
    """
    buyer = buyer_of(session, order)
    blocked_at = now if _is_disputed(session, order) else None
    issued = [
        _issue_one(order, item, position, buyer, now, blocked_at)
        for item in order.items
        for position in range(1, item.quantity + 1)
    ]
    session.add_all(issued)
    announce(session, RenderTickets(order.id), order.request_id)
    return issued


def _is_disputed(session: Session, order: Order) -> bool:
    is_open = exists().where(
        PaymentTransaction.order_id == order.id,
        PaymentTransaction.kind == AttemptKind.DISPUTE,
        PaymentTransaction.status.in_(OPEN_STATUSES),
    )
    return bool(session.scalar(select(is_open)))


def _issue_one(
    order: Order, item: OrderItem, position: int, buyer: User, now: datetime, blocked_at: datetime | None
) -> Ticket:
    named = item.attendees or []
    attendee = named[position - 1] if position <= len(named) else {}
    return Ticket(
        order_id=order.id,
        order_item_id=item.id,
        position=position,
        tier_id=item.tier_id,
        event_id=order.event_id,
        holder_id=order.user_id,
        code=draw_code(),
        status=TicketStatus.VALID,
        attendee_name=attendee.get("name") or buyer.full_name,
        attendee_email=attendee.get("email") or buyer.email,
        blocked_at=blocked_at,
        created_at=now,
    )


def render(sessions: sessionmaker[Session], signer: Signer, renderer: QRRenderer, order_id: UUID) -> None:
    """Sign and draw the order's tickets that have no picture yet; the last one completes the order.

    Those that changed hands go to their new holders by mail.
    """
    with sessions.begin() as session:
        missing = session.execute(
            select(Ticket.id, Ticket.event_id, Ticket.code, Ticket.code_version, Ticket.transferred_at)
            .join(Order, Order.id == Ticket.order_id)
            .where(Ticket.order_id == order_id, Order.stage.in_(CONFIRMED), *_UNRENDERED)
            .order_by(Ticket.id)
        ).all()
    # Drawing takes milliseconds each: no transaction stays open over it.
    drawn = []
    for ticket in missing:
        payload = signer.sign(TicketClaims(ticket.event_id, ticket.code, ticket.code_version))
        drawn.append((ticket.id, ticket.code, payload, base64.b64encode(renderer.png(payload)).decode("ascii")))
    with sessions.begin() as session:
        order = lock_order(session, order_id)
        if order is not None and order.stage in CONFIRMED:
            _keep(session, drawn)
            _complete(session, order)
            transfer_mails.write_to_receivers(session, [ticket.id for ticket in missing if ticket.transferred_at])


def _keep(session: Session, drawn: Sequence[tuple[UUID, str, str, str]]) -> None:
    for ticket_id, code, payload, image in drawn:
        session.execute(
            update(Ticket)
            # A transfer may have rotated the code while we drew.
            .where(Ticket.id == ticket_id, Ticket.code == code, *_UNRENDERED)
            .values(qr_payload=payload, qr_image=image)
        )


def _complete(session: Session, order: Order) -> None:
    is_unfinished = session.scalar(select(exists().where(Ticket.order_id == order.id, *_UNRENDERED)))
    if order.stage is OrderStage.ISSUING and not is_unfinished:
        move(session, order, OrderStage.COMPLETE, "tickets_issued", count=order.total_tickets)
        confirmation = write_to_buyer(session, order, "order_confirmed")
        announce(session, SendMail(confirmation.id), order.request_id)


def withdraw(session: Session, order: Order, status: TicketStatus) -> None:
    """Take the order's tickets back, used ones too: from now on they are `cancelled` or `refunded`."""
    taken = session.scalars(update(Ticket).where(*_live(order)).values(status=status).returning(Ticket.id)).all()
    transfer_mails.tell_holders(session, order, taken)


def block(session: Session, order: Order, now: datetime) -> None:
    """Let the order's tickets open no door; a used one, too, since its check-in may be undone."""
    session.execute(update(Ticket).where(*_live(order), Ticket.blocked_at.is_(None)).values(blocked_at=now))


def unblock(session: Session, order: Order) -> None:
    """Let the order's tickets open their doors again, unless another dispute of it is open."""
    if not _is_disputed(session, order):
        session.execute(update(Ticket).where(*_live(order)).values(blocked_at=None))


def find_live(session: Session, order: Order) -> Sequence[UUID]:
    """Return which of the order's tickets were not taken back."""
    return session.scalars(select(Ticket.id).where(*_live(order))).all()


def _live(order: Order) -> tuple[ColumnElement[bool], ...]:
    return Ticket.order_id == order.id, Ticket.status.in_([TicketStatus.VALID, TicketStatus.USED])


def has_used(session: Session, order: Order) -> bool:
    """Tell whether somebody went in with a ticket of the order."""
    return bool(session.scalar(select(exists().where(Ticket.order_id == order.id, Ticket.checked_in_at.is_not(None)))))


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for orders whose tickets have waited for their pictures since `before`."""
    waiting = session.scalars(
        select(Ticket.order_id)
        .join(Order, Order.id == Ticket.order_id)
        .where(Ticket.created_at < before, Order.stage.in_(CONFIRMED), *_UNRENDERED)
        .group_by(Ticket.order_id)
        .order_by(Ticket.order_id)
        .limit(STALLED_LIMIT)
    )
    return [RenderTickets(order_id) for order_id in waiting]


_UNRENDERED = (Ticket.qr_payload.is_(None), Ticket.status == TicketStatus.VALID)


def list_tickets(session: Session, holder_id: UUID, *, limit: int, after: UUID | None) -> Sequence[Ticket]:
    """Return a holder's tickets, newest first, one more than `limit` if there are more."""
    query = _own_tickets(holder_id).order_by(Ticket.id.desc()).limit(limit + 1)
    return session.scalars(query if after is None else query.where(Ticket.id < after)).all()


def find_ticket(session: Session, holder_id: UUID, ticket_id: UUID) -> Ticket:
    """Return a holder's own ticket; raise `NotFoundError` for anybody else's."""
    ticket = session.scalar(_own_tickets(holder_id).where(Ticket.id == ticket_id))
    if ticket is None:
        raise NotFoundError("ticket")
    return ticket


def _own_tickets(holder_id: UUID) -> Select[Ticket]:
    """Select a holder's tickets with what they are for, but without their pictures, which are a kilobyte each."""
    return (
        select(Ticket)
        .where(Ticket.holder_id == holder_id)
        .options(joinedload(Ticket.event), joinedload(Ticket.tier), defer(Ticket.qr_image))
    )
