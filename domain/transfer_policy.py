"""Whether a ticket may be handed on now: what its own state, its event's terms and its earlier offers say."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from domain.errors import ConflictError
from domain.models import Event, Ticket, TicketTransfer, User
from domain.rules.states import TicketStatus, TransferStatus

LIFETIME = timedelta(days=7)
"""How long an offer stands, at most until the event's deadline for transfers."""
OFFERS_PER_DAY = 5
"""Offers of one ticket in 24 hours: nobody's mailbox is flooded through us."""
DAY = timedelta(days=1)


def deadline_of(event: Event) -> datetime:
    """Return until when tickets of the event change hands."""
    return event.starts_at - timedelta(hours=event.transfer_until_hours or 0)


def require_transferable(ticket: Ticket, now: datetime) -> None:
    """Raise `ConflictError` unless the ticket, whose event is loaded, may change hands now."""
    event = ticket.event
    if obstacle := _obstacle(ticket):
        raise ConflictError(obstacle, code="ticket-not-transferable")
    if event.is_cancelled:
        raise ConflictError("The event was cancelled.", code="event-cancelled")
    if not event.transfers_allowed:
        raise ConflictError("The organiser does not allow tickets to be handed on.", code="transfers-not-allowed")
    if now >= deadline_of(event):
        deadline = deadline_of(event).isoformat()
        raise ConflictError(f"Tickets could be handed on until {deadline}.", code="transfer-window-over")


def _obstacle(ticket: Ticket) -> str | None:
    """Say why a ticket cannot be handed on, whatever its event allows."""
    if ticket.status is TicketStatus.USED:
        return "Somebody went in with this ticket."
    if ticket.status is not TicketStatus.VALID:
        return f"This ticket is {ticket.status}."
    if ticket.refund_id is not None:
        return "A refund of this ticket is under way."
    if ticket.blocked_at is not None:
        return "A dispute about the payment blocks this ticket."
    return None


def require_free(session: Session, ticket: Ticket, now: datetime) -> None:
    """Raise `ConflictError` if an offer of the locked ticket stands, or too many were made lately."""
    counts = select(
        func.count().filter(TicketTransfer.status == TransferStatus.PENDING),
        func.count().filter(TicketTransfer.created_at > now - DAY),
    )
    standing, lately = session.execute(counts.where(TicketTransfer.ticket_id == ticket.id)).one()
    if standing:
        raise ConflictError("This ticket is offered to somebody already: cancel that first.", code="transfer-pending")
    if lately >= OFFERS_PER_DAY:
        raise ConflictError("This ticket was offered often enough for a day.", code="too-many-transfers")


def require_standing(transfer: TicketTransfer, now: datetime) -> None:
    """Raise `ConflictError` unless the offer can still be answered; its clock counts, whether or not it was swept."""
    if not transfer.is_pending:
        raise ConflictError(f"The transfer is {transfer.status}.", code="transfer-closed")
    if transfer.expires_at <= now:
        raise ConflictError("The transfer has expired.", code="transfer-closed")


def require_proven(person: User) -> None:
    """Raise `ConflictError` unless the person has shown that their address is theirs."""
    if not person.email_verified:
        raise ConflictError("Prove your e-mail address first, by the link in our mail.", code="email-unverified")
