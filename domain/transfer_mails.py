"""What mails are written about tickets that change hands, and to whom; what they say is in `correspondence.py`.

None of them belongs to the order: its timeline and its link are the buyer's.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.models import Order, Ticket, TicketTransfer, User
from domain.notifications import queue_mail
from domain.rules.states import TransferStatus


def write_to_recipient(session: Session, transfer: TicketTransfer) -> None:
    """Tell an address, which may have no account, that a ticket was offered to it.

    The mail is not the event's: whom a holder has in mind is not the promoter's to see, unless they accept.
    """
    queue_mail(
        session,
        template="transfer_offered",
        purpose=f"transfer_offered:{transfer.id}",
        recipient=transfer.recipient_email,
        recipient_name=transfer.recipient_name or transfer.recipient_email,
        context={"transfer_id": str(transfer.id)},
    )


def write_to_sender(session: Session, transfer: TicketTransfer) -> None:
    """Tell the sender how their offer ended."""
    template = "transfer_accepted" if transfer.status is TransferStatus.ACCEPTED else "transfer_refused"
    _write(session, transfer, transfer.sender_id, template)


def write_to_receivers(session: Session, ticket_ids: Collection[UUID]) -> None:
    """Send those of these tickets that changed hands to their new holders, each once."""
    for transfer in _last_transfers(session, ticket_ids):
        if transfer.recipient_id is not None:
            _write(session, transfer, transfer.recipient_id, "ticket_received")


def tell_holders(session: Session, order: Order, ticket_ids: Collection[UUID]) -> None:
    """Tell holders that tickets of a locked order were taken back; its buyer is told about the order itself."""
    for transfer in _last_transfers(session, ticket_ids):
        if transfer.recipient_id is not None and transfer.recipient_id != order.user_id:
            _write(session, transfer, transfer.recipient_id, "ticket_withdrawn")


def _last_transfers(session: Session, ticket_ids: Collection[UUID]) -> Sequence[TicketTransfer]:
    """Return, of tickets that changed hands, the transfer by which each came to its holder."""
    if not ticket_ids:
        return []
    brought_it = (TicketTransfer.ticket_id == Ticket.id) & (TicketTransfer.ended_at == Ticket.transferred_at)
    query = select(TicketTransfer).join(Ticket, brought_it).where(Ticket.id.in_(ticket_ids)).order_by(Ticket.id)
    return session.scalars(query.where(TicketTransfer.recipient_id == Ticket.holder_id)).all()


def _write(session: Session, transfer: TicketTransfer, user_id: UUID, template: str) -> None:
    person = session.get_one(User, user_id)
    event_id = session.scalars(select(Ticket.event_id).where(Ticket.id == transfer.ticket_id)).one()
    queue_mail(
        session,
        template=template,
        purpose=f"{template}:{transfer.id}",
        recipient=person.email,
        recipient_name=person.full_name,
        user_id=person.id,
        event_id=event_id,
        context={"transfer_id": str(transfer.id)},
    )
