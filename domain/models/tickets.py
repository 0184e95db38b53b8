"""Tickets: who may come in, and what became of that."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, literal_column, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from domain.models.accounts import User
from domain.models.base import Base, Identified, Timestamped, value_enum
from domain.models.catalog import Event, TicketTier
from domain.models.orders import Order, OrderItem
from domain.rules.states import TicketStatus


class Ticket(Identified, Timestamped, Base):
    __tablename__ = "tickets"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"))
    order_item_id: Mapped[UUID] = mapped_column(ForeignKey("order_items.id"))
    position: Mapped[int]
    """1 to the item's quantity, so that issuing twice is impossible."""
    tier_id: Mapped[UUID] = mapped_column(ForeignKey("ticket_tiers.id"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    holder_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    code: Mapped[str] = mapped_column(unique=True)
    """At least 128 random bits; rotates at a transfer."""
    code_version: Mapped[int] = mapped_column(default=1)
    qr_payload: Mapped[str | None]
    """The signed text inside the QR code; written with the picture by the tickets worker."""
    qr_image: Mapped[str | None]
    """PNG in base64."""
    status: Mapped[TicketStatus] = mapped_column(value_enum(TicketStatus), default=TicketStatus.VALID)
    attendee_name: Mapped[str]
    attendee_email: Mapped[str]
    checked_in_at: Mapped[datetime | None]
    checked_in_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    blocked_at: Mapped[datetime | None]
    """Since when a payment dispute blocks it."""
    refund_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_transactions.id"))
    """The refund that was asked for it; from then on it opens no door, unless that refund fails."""
    transferred_from_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    transferred_to_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    transferred_at: Mapped[datetime | None]
    changed_xid: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """The transaction that last changed what the door knows of it, kept by a trigger (docs/adr/0020)."""

    order: Mapped[Order] = relationship(lazy="raise")
    item: Mapped[OrderItem] = relationship(lazy="raise")
    tier: Mapped[TicketTier] = relationship(lazy="raise")
    event: Mapped[Event] = relationship(lazy="raise")
    holder: Mapped[User] = relationship(lazy="raise", foreign_keys=[holder_id])

    __table_args__ = (
        CheckConstraint("position > 0", name="position"),
        CheckConstraint("code_version > 0", name="code_version"),
        CheckConstraint("length(code) >= 22", name="code_entropy"),
        # A ticket that was used and then refunded keeps its check-in.
        CheckConstraint(
            "status NOT IN ('valid', 'used') OR (status = 'used') = (checked_in_at IS NOT NULL)", name="used_when"
        ),
        CheckConstraint("(qr_payload IS NULL) = (qr_image IS NULL)", name="qr_together"),
        UniqueConstraint("order_item_id", "position"),
        # The tickets of an order.
        Index("ix_tickets_order_id", "order_id"),
        # GET /tickets, newest first.
        Index("ix_tickets_holder_id_id", "holder_id", "id"),
        # The attendee list.
        Index("ix_tickets_event_id_id", "event_id", "id"),
        # The door list, and what changed in it.
        Index("ix_tickets_changes", "event_id", "changed_xid", "id"),
        # The search in an event's attendees, by a part of a name or address.
        Index(
            "ix_tickets_search",
            literal_column("((attendee_name || ' ') || attendee_email)").label("attendee"),
            postgresql_using="gin",
            postgresql_ops={"attendee": "gin_trgm_ops"},
        ),
        # The sweep: whose picture is missing.
        Index("ix_tickets_unrendered", "created_at", postgresql_where=text("qr_payload IS NULL")),
    )

    @property
    def is_valid(self) -> bool:
        return self.status is TicketStatus.VALID and self.blocked_at is None and self.refund_id is None

    @property
    def is_used(self) -> bool:
        return self.status is TicketStatus.USED

    @property
    def can_transfer(self) -> bool:
        return self.is_valid and self.event.transfers_allowed and self.event.is_upcoming and not self.event.is_cancelled

    @property
    def can_check_in(self) -> bool:
        return self.is_valid and not self.event.is_cancelled and not self.event.is_past
