"""Transfers: a holder offers a ticket to an address, and whoever proves that address takes it over or declines.

A ticket that is refunded, disputed, cancelled or used ends its offer by itself: a trigger does it (`void_transfer`), so
that nobody can forget to. When it may be handed on is in `transfer_policy.py`, what people are told in
`transfer_mails.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, or_, select, union_all
from sqlalchemy.orm import Session, joinedload, sessionmaker
from sqlalchemy.orm.interfaces import ORMOption

from domain import audit, transfer_mails
from domain.audit import Actor
from domain.buyers import tell_buyer
from domain.errors import InvalidError, NotFoundError
from domain.messages import RenderTickets, announce
from domain.models import Ticket, TicketTransfer, User
from domain.one_by_one import one_by_one
from domain.rules.states import TransferStatus
from domain.ticket_codes import draw_code
from domain.transfer_policy import (
    LIFETIME,
    deadline_of,
    require_free,
    require_proven,
    require_standing,
    require_transferable,
)
from domain.transitions import lock_order

BATCH = 200


@dataclass(frozen=True, slots=True)
class Recipient:
    """To whom a ticket is offered; without a name it takes that of the account which accepts it."""

    email: str
    name: str | None = None


def offer(session: Session, ticket_id: UUID, sender: Actor, recipient: Recipient, now: datetime) -> TicketTransfer:
    """Offer one's ticket to an address, to which a mail goes; the ticket stays the sender's until it is accepted.

    Raises `NotFoundError` for anybody else's ticket, `InvalidError` for one's own address, `ConflictError` if the
    ticket or its event allows no transfer, an offer of it stands, or too many were made.
    """
    ticket = _lock_own_ticket(session, ticket_id, sender)
    person = session.get_one(User, sender.user_id)
    require_proven(person)
    require_transferable(ticket, now)
    if _is_address_of(person, recipient.email):
        raise InvalidError("This is your own address.", pointer="/email")
    require_free(session, ticket, now)
    transfer = TicketTransfer(
        ticket=ticket,
        sender=person,
        recipient_email=recipient.email,
        recipient_name=recipient.name,
        status=TransferStatus.PENDING,
        expires_at=min(now + LIFETIME, deadline_of(ticket.event)),
        created_at=now,
    )
    session.add(transfer)
    session.flush()
    # Whose address it is, stands in the transfer: the log refers to it.
    audit.record(session, sender, "transfer.offer", transfer, new={"ticket_id": str(ticket.id)})
    transfer_mails.write_to_recipient(session, transfer)
    return transfer


def accept(session: Session, transfer_id: UUID, recipient: Actor, now: datetime) -> None:
    """Take the offered ticket over: it gets a new holder, attendee and code, and the old code opens no door any more.

    Repeating it changes nothing. Raises `NotFoundError` unless the ticket was offered to the recipient's address,
    `ConflictError` if that is not proven yet, or nothing stands that could be accepted.
    """
    person = _require_recipient(session, transfer_id, recipient)
    # The order first, then its ticket, then the offer: so lock refunds, and the door with its trigger.
    order_id = session.scalars(select(Ticket.order_id).join(TicketTransfer).where(TicketTransfer.id == transfer_id))
    order = lock_order(session, order_id.one())
    ticket = session.scalars(_locked_ticket().join(TicketTransfer).where(TicketTransfer.id == transfer_id)).one()
    transfer = _lock(session, TicketTransfer.id == transfer_id)
    assert order is not None, "a ticket has its order"
    if transfer.recipient_id == person.id:
        return
    require_standing(transfer, now)
    require_transferable(ticket, now)
    _hand_over(ticket, transfer, person, now)
    transfer.recipient_id = person.id
    _end(transfer, TransferStatus.ACCEPTED, now)
    session.flush()
    tell_buyer(session, order, "ticket_transferred")
    old, new = {"holder_id": str(transfer.sender_id)}, {"holder_id": str(person.id), "ticket_id": str(ticket.id)}
    audit.record(session, recipient, "transfer.accept", transfer, old=old, new=new)
    transfer_mails.write_to_sender(session, transfer)
    announce(session, RenderTickets(order.id), order.request_id)


def _hand_over(ticket: Ticket, transfer: TicketTransfer, person: User, now: datetime) -> None:
    ticket.holder_id = person.id
    ticket.attendee_name = transfer.recipient_name or person.full_name
    ticket.attendee_email = person.email
    ticket.code = draw_code()
    ticket.code_version += 1
    # The tickets worker draws it anew, and mails it.
    ticket.qr_payload = ticket.qr_image = None
    ticket.transferred_from_id, ticket.transferred_to_id = transfer.sender_id, person.id
    ticket.transferred_at = now


def decline(session: Session, transfer_id: UUID, recipient: Actor, now: datetime) -> None:
    """Refuse an offered ticket; repeating it changes nothing. Raises what `accept` raises."""
    _require_recipient(session, transfer_id, recipient)
    transfer = _lock(session, TicketTransfer.id == transfer_id)
    if transfer.status is TransferStatus.DECLINED:
        return
    require_standing(transfer, now)
    _end(transfer, TransferStatus.DECLINED, now)
    audit.record(session, recipient, "transfer.decline", transfer)
    transfer_mails.write_to_sender(session, transfer)


def cancel(session: Session, transfer_id: UUID, sender: Actor, now: datetime) -> None:
    """Take an offer back that was not accepted; repeating it changes nothing.

    Raises `NotFoundError` for anybody else's offer, `ConflictError` for one that ended otherwise.
    """
    transfer = _lock(session, TicketTransfer.id == transfer_id, TicketTransfer.sender_id == sender.user_id)
    if transfer.status is TransferStatus.CANCELLED:
        return
    require_standing(transfer, now)
    _end(transfer, TransferStatus.CANCELLED, now)
    audit.record(session, sender, "transfer.cancel", transfer)


def cancel_of_ticket(session: Session, ticket_id: UUID, sender: Actor, now: datetime) -> None:
    """Take back the offer that stands of one's ticket, if there is one; raise `NotFoundError` for anybody else's."""
    ticket = _lock_own_ticket(session, ticket_id, sender)
    transfer_id = session.scalar(
        select(TicketTransfer.id).where(
            TicketTransfer.ticket_id == ticket.id,
            TicketTransfer.status == TransferStatus.PENDING,
            TicketTransfer.expires_at > now,
        )
    )
    if transfer_id is not None:
        cancel(session, transfer_id, sender, now)


def expire(sessions: sessionmaker[Session], now: datetime) -> int:
    """End the offers whose time is over, and tell their senders; return how many."""
    with sessions() as session:
        due = find_due(session, now)
    return one_by_one(sessions, due, lambda session, transfer_id: _expire_one(session, transfer_id, now))


def find_due(session: Session, now: datetime) -> Sequence[UUID]:
    """Return the offers whose time is over."""
    is_over = TicketTransfer.status == TransferStatus.PENDING, TicketTransfer.expires_at <= now
    return session.scalars(
        select(TicketTransfer.id).where(*is_over).order_by(TicketTransfer.expires_at).limit(BATCH)
    ).all()


def _expire_one(session: Session, transfer_id: UUID, now: datetime) -> bool:
    transfer = _lock(session, TicketTransfer.id == transfer_id)
    if not transfer.is_pending:
        return False
    _end(transfer, TransferStatus.EXPIRED, now)
    transfer_mails.write_to_sender(session, transfer)
    return True


def _end(transfer: TicketTransfer, status: TransferStatus, now: datetime) -> None:
    transfer.status = status
    transfer.ended_at = now


def read(session: Session, transfer_id: UUID) -> TicketTransfer:
    """Return a transfer with all that is shown of it; raise `NotFoundError` if there is none."""
    transfer = session.scalar(_shown().where(TicketTransfer.id == transfer_id))
    if transfer is None:
        raise NotFoundError("transfer")
    return transfer


def find(session: Session, transfer_id: UUID, person: Actor) -> TicketTransfer:
    """Return a transfer for its sender, or whoever has the address it went to; raise `NotFoundError` for others."""
    transfer = read(session, transfer_id)
    if transfer.sender_id != person.user_id:
        _require_recipient(session, transfer_id, person)
    return transfer


def list_own(session: Session, person: Actor, *, limit: int, after: UUID | None) -> Sequence[TicketTransfer]:
    """Return what a person sent, and what was sent to them, newest first, one more than `limit` if there are more."""
    ids = select(TicketTransfer.id).order_by(TicketTransfer.id.desc()).limit(limit + 1)
    if after is not None:
        ids = ids.where(TicketTransfer.id < after)
    sides = [ids.where(TicketTransfer.sender_id == person.user_id)]
    user = session.get_one(User, person.user_id)
    if user.email_verified:
        sides.append(ids.where(_is_addressed_to(user)))
    # Each side walks its own index, and neither further than a page.
    own = union_all(*(side.subquery().select() for side in sides)).subquery()
    query = _shown().where(TicketTransfer.id.in_(own.select())).order_by(TicketTransfer.id.desc()).limit(limit + 1)
    return session.scalars(query).all()


def _require_recipient(session: Session, transfer_id: UUID, actor: Actor) -> User:
    """Return the person to whose address the ticket was offered, who has proven it."""
    user = session.get_one(User, actor.user_id)
    is_theirs = select(TicketTransfer.id).where(TicketTransfer.id == transfer_id, _is_addressed_to(user))
    if session.scalar(is_theirs) is None:
        raise NotFoundError("transfer")
    require_proven(user)
    return user


def _is_addressed_to(user: User) -> ColumnElement[bool]:
    # Somebody else may have had this address, and taken over what was sent to it then.
    is_open_to = or_(TicketTransfer.recipient_id.is_(None), TicketTransfer.recipient_id == user.id)
    is_addressed = func.lower(TicketTransfer.recipient_email) == func.lower(user.email)
    # Whose account has ended has no address, though their token lives for some minutes.
    return is_addressed & is_open_to & literal(not user.is_deleted)


def _is_address_of(user: User, email: str) -> bool:
    return user.email.lower() == email.lower()


def _lock(session: Session, *conditions: ColumnElement[bool]) -> TicketTransfer:
    """Lock a transfer and return it as it is now; raise `NotFoundError` if there is none."""
    query = select(TicketTransfer).where(*conditions).with_for_update(key_share=True)
    transfer = session.scalar(query.execution_options(populate_existing=True))
    if transfer is None:
        raise NotFoundError("transfer")
    return transfer


def _lock_own_ticket(session: Session, ticket_id: UUID, holder: Actor) -> Ticket:
    ticket = session.scalar(_locked_ticket().where(Ticket.id == ticket_id, Ticket.holder_id == holder.user_id))
    if ticket is None:
        raise NotFoundError("ticket")
    return ticket


def _locked_ticket() -> Select[Ticket]:
    event: ORMOption = joinedload(Ticket.event, innerjoin=True)
    query = select(Ticket).options(event).with_for_update(key_share=True, of=Ticket)
    return query.execution_options(populate_existing=True)


def _shown() -> Select[TicketTransfer]:
    ticket = joinedload(TicketTransfer.ticket, innerjoin=True)
    return (
        select(TicketTransfer)
        .options(
            ticket.joinedload(Ticket.event, innerjoin=True),
            ticket.joinedload(Ticket.tier, innerjoin=True),
            joinedload(TicketTransfer.sender, innerjoin=True),
        )
        .execution_options(populate_existing=True)
    )
