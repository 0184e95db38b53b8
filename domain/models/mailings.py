"""Mail to many at once, and who is to get less of it: mailings, unsubscriptions, suppressed addresses."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Text, Uuid

from domain.models.accounts import User
from domain.models.base import EMPTY_OBJECT, Base, Identified, JSONObject, Timestamped, value_enum
from domain.models.catalog import Event
from domain.rules.states import MailingKind, MailingStatus, SuppressionReason, TicketStatus

LIVE_TICKETS = (TicketStatus.VALID, TicketStatus.USED)


class Mailing(Identified, Timestamped, Base):
    """One thing that the people of an event are told by mail, in rounds of the sweep."""

    __tablename__ = "mailings"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    kind: Mapped[MailingKind] = mapped_column(value_enum(MailingKind))
    status: Mapped[MailingStatus] = mapped_column(value_enum(MailingStatus), default=MailingStatus.WAITING)
    created_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    """Whoever wrote or caused it; nobody for a reminder."""
    subject: Mapped[str | None]
    body: Mapped[str | None]
    """An announcement's text, as it was written."""
    tier_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"), default=list)
    """Whose tickets it is for; all tiers where empty."""
    ticket_statuses: Mapped[list[str]] = mapped_column(
        ARRAY(Text), server_default=text("'{valid,used}'"), default=lambda: list(LIVE_TICKETS)
    )
    changes: Mapped[JSONObject] = mapped_column(server_default=EMPTY_OBJECT, default=dict)
    """What of the event has changed: the field's old and new value, by its name."""
    event_starts_at: Mapped[datetime | None]
    """The start that a reminder is about."""
    due_at: Mapped[datetime | None]
    """From when on it goes out; a draft has none."""
    served_at: Mapped[datetime | None]
    """When its last round was: those that were served longest ago are next."""
    last_ticket_id: Mapped[UUID | None]
    """The cursor: the holders of all tickets up to this one have their mail."""
    people: Mapped[int | None]
    """How many it is for, counted when it starts."""
    written: Mapped[int] = mapped_column(server_default=text("0"), default=0)
    """How many mails it has put into the outbox."""
    finished_at: Mapped[datetime | None]

    event: Mapped[Event] = relationship(lazy="raise")
    created_by: Mapped[User | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("(kind = 'announcement') = (subject IS NOT NULL AND body IS NOT NULL)", name="announcement"),
        CheckConstraint("(kind = 'reminder') = (event_starts_at IS NOT NULL)", name="reminder"),
        CheckConstraint(
            "ticket_statuses <@ ARRAY['valid', 'used', 'cancelled', 'refunded'] AND cardinality(ticket_statuses) > 0",
            name="ticket_statuses",
        ),
        CheckConstraint("status NOT IN ('waiting', 'sending', 'sent') OR due_at IS NOT NULL", name="due_when"),
        CheckConstraint("(status IN ('sent', 'cancelled')) = (finished_at IS NOT NULL)", name="finished_when"),
        CheckConstraint("written >= 0 AND people >= 0", name="counts"),
        # An event's announcements, newest first.
        Index("ix_mailings_event_id_id", "event_id", "id"),
        # The sweep: what is to go out.
        Index(
            "ix_mailings_open",
            "due_at",
            postgresql_where=text("status IN ('waiting', 'sending')"),
        ),
        # Edits of an event that nobody has been told of are one change.
        Index(
            "uq_mailings_waiting_change",
            "event_id",
            unique=True,
            postgresql_where=text("kind = 'event_changed' AND status = 'waiting'"),
        ),
        Index(
            "uq_mailings_reminder",
            "event_id",
            "event_starts_at",
            unique=True,
            postgresql_where=text("kind = 'reminder'"),
        ),
    )

    @property
    def is_open(self) -> bool:
        return self.status in {MailingStatus.WAITING, MailingStatus.SENDING}

    @property
    def is_cancelled(self) -> bool:
        return self.status is MailingStatus.CANCELLED


class Unsubscription(Base):
    """A person who wants no announcements of a promoter."""

    __tablename__ = "unsubscriptions"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    promoter_id: Mapped[UUID] = mapped_column(ForeignKey("promoters.id"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class MailSuppression(Identified, Base):
    """An address to which less mail goes, or none."""

    __tablename__ = "mail_suppressions"

    address: Mapped[str] = mapped_column(unique=True)
    """In lower case."""
    reason: Mapped[SuppressionReason] = mapped_column(value_enum(SuppressionReason))
    detail: Mapped[str | None]
    """What the receiving server, or the provider, said."""
    since: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("address = lower(address)", name="address_lower"),)
