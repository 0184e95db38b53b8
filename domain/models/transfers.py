"""Offers of tickets from their holders to somebody else, and what became of them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from domain.models.accounts import User
from domain.models.base import Base, Identified, Timestamped, value_enum
from domain.models.tickets import Ticket
from domain.rules.states import TransferStatus


class TicketTransfer(Identified, Timestamped, Base):
    """A ticket offered to an address. A trigger ends it (`void`) when the ticket stops being valid."""

    __tablename__ = "ticket_transfers"

    ticket_id: Mapped[UUID] = mapped_column(ForeignKey("tickets.id"))
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    recipient_email: Mapped[str]
    recipient_name: Mapped[str | None]
    """The attendee's name as the sender gave it; without it the ticket takes the recipient's own."""
    recipient_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    """Whose the ticket became; nobody's before."""
    status: Mapped[TransferStatus] = mapped_column(value_enum(TransferStatus), default=TransferStatus.PENDING)
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    ticket: Mapped[Ticket] = relationship(lazy="raise")
    sender: Mapped[User] = relationship(lazy="raise", foreign_keys=[sender_id])

    __table_args__ = (
        CheckConstraint("recipient_email LIKE '%_@_%'", name="recipient_shape"),
        CheckConstraint("(status = 'accepted') = (recipient_id IS NOT NULL)", name="accepted_by"),
        CheckConstraint("(status = 'pending') = (ended_at IS NULL)", name="ended_when"),
        # A ticket is offered to one person at a time.
        Index("uq_ticket_transfers_pending", "ticket_id", unique=True, postgresql_where=text("status = 'pending'")),
        # A ticket's history.
        Index("ix_ticket_transfers_ticket_id_id", "ticket_id", "id"),
        # GET /transfers: what a person sent, and what was sent to their address.
        Index("ix_ticket_transfers_sender_id_id", "sender_id", "id"),
        Index("ix_ticket_transfers_received", func.lower(text("recipient_email")), "id"),
        # What a person took over, whatever address they had then.
        Index("ix_ticket_transfers_recipient_id", "recipient_id", postgresql_where=text("recipient_id IS NOT NULL")),
        # The sweep: whose time is over.
        Index("ix_ticket_transfers_expiring", "expires_at", postgresql_where=text("status = 'pending'")),
    )

    @property
    def is_pending(self) -> bool:
        return self.status is TransferStatus.PENDING
