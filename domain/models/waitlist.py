"""Who waits for a sold-out tier, and what was offered to them."""

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, func, select, text
from sqlalchemy.orm import Mapped, aliased, column_property, mapped_column, relationship

from domain.models.accounts import User
from domain.models.base import SALE_SEQUENCE, Base, Identified, Timestamped, utc_now, value_enum
from domain.models.catalog import Event, TicketTier
from domain.models.orders import Order
from domain.rules.states import WaitlistStatus


class Waitlist(Identified, Timestamped, Base):
    """One person's place in the line for one tier; re-joining takes a new number in the same row."""

    __tablename__ = "waitlist"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    tier_id: Mapped[UUID] = mapped_column(ForeignKey("ticket_tiers.id"))
    quantity: Mapped[int]
    sequence: Mapped[int] = mapped_column(BigInteger, SALE_SEQUENCE, server_default=SALE_SEQUENCE.next_value())
    """Drawn from the line that orders stand in, so that neither overtakes the other."""
    status: Mapped[WaitlistStatus] = mapped_column(value_enum(WaitlistStatus), default=WaitlistStatus.WAITING)
    offered_at: Mapped[datetime | None]
    notified_at: Mapped[datetime | None]
    """When the offer's mail was put into the outbox."""
    offer_expires_at: Mapped[datetime | None]
    responded_at: Mapped[datetime | None]
    response: Mapped[str | None]
    offered_order_id: Mapped[UUID | None] = mapped_column(ForeignKey("orders.id"))
    unoffered_reason: Mapped[str | None]
    """Why the entry ended without an offer, such as the end of the sale."""

    if TYPE_CHECKING:
        position: Mapped[int]
        """The rank among those who wait, counted when it is asked for."""

    user: Mapped[User] = relationship(lazy="raise")
    event: Mapped[Event] = relationship(lazy="raise")
    tier: Mapped[TicketTier] = relationship(lazy="raise")
    offered_order: Mapped[Order | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity"),
        CheckConstraint("(status = 'offered') <= (offer_expires_at IS NOT NULL)", name="offer_has_clock"),
        CheckConstraint("(status = 'offered') <= (offered_order_id IS NOT NULL)", name="offer_has_order"),
        CheckConstraint("response IN ('accepted', 'declined')", name="response"),
        CheckConstraint("(response IS NULL) = (responded_at IS NULL)", name="responded_when"),
        UniqueConstraint("user_id", "event_id", "tier_id"),
        # The tier's line of waiting entries.
        Index("ix_waitlist_line", "tier_id", "sequence", postgresql_where=text("status = 'waiting'")),
        # GET /waitlist.
        Index("ix_waitlist_user_id_id", "user_id", "id"),
        # The promoter's view of an event's list.
        Index("ix_waitlist_event_id_sequence", "event_id", "sequence"),
        # The waitlist worker: offers whose mail is not written yet.
        Index(
            "ix_waitlist_unnotified",
            "offered_at",
            postgresql_where=text("status = 'offered' AND notified_at IS NULL"),
        ),
        # From an order back to the entry that it was offered to.
        Index("ix_waitlist_offered_order_id", "offered_order_id"),
    )

    @property
    def is_notified(self) -> bool:
        return self.notified_at is not None

    @property
    def is_expired(self) -> bool:
        if self.status is WaitlistStatus.OFFERED:
            return self.offer_expires_at is not None and self.offer_expires_at <= utc_now()
        return self.status is WaitlistStatus.EXPIRED

    @property
    def is_waiting(self) -> bool:
        return self.status is WaitlistStatus.WAITING

    @property
    def can_notify(self) -> bool:
        return self.status is WaitlistStatus.OFFERED and not self.is_notified and not self.is_expired


_ahead = aliased(Waitlist)
# It reads its own table, so it can only be added once the class exists.
Waitlist.position = column_property(
    select(func.count())
    .where(_ahead.tier_id == Waitlist.tier_id, _ahead.status == WaitlistStatus.WAITING)
    .where(_ahead.sequence <= Waitlist.sequence)
    .correlate_except(_ahead)
    .scalar_subquery(),
    deferred=True,
)
