"""What the documents of tickets and events say, for whoever may have them. Adapters write the files.

The calendar's entry is one per event, however many tickets somebody holds, and outlives them only to say that the
event is off.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session, defer, joinedload

from domain.errors import ConflictError, NotFoundError
from domain.models import Event, Order, Ticket
from domain.ports import EventFacts, TicketFacts
from domain.rules.states import TicketStatus
from domain.venues import address_of

SHOWN = frozenset({TicketStatus.VALID, TicketStatus.USED})


def require_shown(ticket: Ticket) -> Ticket:
    """Return the ticket; raise `ConflictError` if it has no code yet, or none any more that opens a door."""
    if ticket.status not in SHOWN:
        raise ConflictError(f"The ticket is {ticket.status}, and opens no door.")
    if ticket.qr_payload is None:
        raise ConflictError("The QR code is being drawn. Ask again in a moment.")
    return ticket


def find_ticket(session: Session, holder_id: UUID, ticket_id: UUID, order_id: UUID | None = None) -> TicketFacts:
    """Return a ticket of the holder's, of this order if one is named.

    Raises `NotFoundError` for anybody else's, `ConflictError` for one that opens no door.
    """
    ticket = _find_own(session, holder_id, ticket_id)
    if order_id is not None and ticket.order_id != order_id:
        raise NotFoundError("ticket")
    return _about_ticket(ticket)


def find_order_tickets(session: Session, holder_id: UUID, order_id: UUID) -> Sequence[TicketFacts]:
    """Return those tickets of an order that open a door and are still the holder's, by tier and place.

    Raises `NotFoundError` for whoever neither bought the order nor holds a ticket of it, `ConflictError` if there is
    none to show.
    """
    own = list(session.scalars(_own(holder_id).where(Ticket.order_id == order_id).order_by(*_BY_PLACE)))
    if not own and not session.scalar(select(exists().where(Order.id == order_id, Order.user_id == holder_id))):
        raise NotFoundError("order")
    shown = [_about_ticket(ticket) for ticket in own if ticket.status in SHOWN]
    if not shown:
        raise ConflictError("The order has no ticket of yours that opens a door.")
    return shown


def find_event_of(session: Session, holder_id: UUID, ticket_id: UUID) -> EventFacts:
    """Return the event of a ticket of the holder's; raise as `find_ticket` does, but not once the event is off."""
    ticket = _find_own(session, holder_id, ticket_id)
    if not ticket.event.is_cancelled:
        require_shown(ticket)
    return about_event(ticket.event)


def about_event(event: Event) -> EventFacts:
    """Return what documents say of an event."""
    return EventFacts(
        id=event.id,
        title=event.title,
        description=event.description,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        doors_at=event.doors_at,
        timezone=event.timezone,
        venue=event.venue_name,
        address=address_of(event),
        country=event.country,
        position=_position(event),
        is_cancelled=event.is_cancelled,
        revised_at=event.updated_at,
        # The row counts no edits, but each of them moves its clock. RFC 5545's 32 bits hold 68 years of seconds.
        revision=(event.updated_at - event.created_at) // timedelta(seconds=1),
    )


def _position(event: Event) -> tuple[float, float] | None:
    if event.latitude is None or event.longitude is None:
        return None
    return float(event.latitude), float(event.longitude)


def _about_ticket(ticket: Ticket) -> TicketFacts:
    return TicketFacts(
        id=ticket.id,
        code=ticket.code,
        qr_payload=require_shown(ticket).qr_payload or "",
        tier=ticket.tier.name,
        attendee=ticket.attendee_name,
        order_number=ticket.order.number,
        event=about_event(ticket.event),
    )


def _find_own(session: Session, holder_id: UUID, ticket_id: UUID) -> Ticket:
    ticket = session.scalar(_own(holder_id).where(Ticket.id == ticket_id))
    if ticket is None:
        raise NotFoundError("ticket")
    return ticket


_BY_PLACE = (Ticket.order_item_id, Ticket.position)


def _own(holder_id: UUID) -> Select[Ticket]:
    return (
        select(Ticket)
        .where(Ticket.holder_id == holder_id)
        .options(joinedload(Ticket.event), joinedload(Ticket.tier), joinedload(Ticket.order), defer(Ticket.qr_image))
    )
