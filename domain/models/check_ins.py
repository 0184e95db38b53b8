"""Check-ins: every scan at the door, and how many there were."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from domain.models.base import Base, Identified, value_enum
from domain.models.tickets import Ticket
from domain.rules.states import ScanResult

CONFLICT = "check_in_scans.is_offline AND check_in_scans.result <> 'accepted'"
"""Somebody was let in by a gate that could not know better."""


class CheckInScan(Identified, Base):
    """One scan at the door, accepted or refused; the nonce makes a repeated upload harmless."""

    __tablename__ = "check_in_scans"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    ticket_id: Mapped[UUID | None] = mapped_column(ForeignKey("tickets.id"))
    """Null where the event has no such ticket."""
    scanned_by_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    nonce: Mapped[str]
    fingerprint: Mapped[bytes]
    """SHA-256 of what was scanned: a nonce that comes back with something else is told apart from a repetition."""
    result: Mapped[ScanResult] = mapped_column(value_enum(ScanResult))
    gate: Mapped[str | None]
    is_offline: Mapped[bool] = mapped_column(default=False)
    """True when the gate had let somebody in before it told us."""
    is_admitted: Mapped[bool] = mapped_column(default=False)
    """True when the ticket is used since this scan."""
    earlier_scan_id: Mapped[UUID | None] = mapped_column(ForeignKey("check_in_scans.id"))
    """By which scan the ticket was used already."""
    scanned_at: Mapped[datetime]
    """By the gate's clock, within reason, where it was offline; else by ours."""
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    undone_at: Mapped[datetime | None]
    undone_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))

    ticket: Mapped[Ticket | None] = relationship(lazy="raise")
    earlier: Mapped["CheckInScan | None"] = relationship(lazy="raise", remote_side="CheckInScan.id")

    __table_args__ = (
        CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint_length"),
        CheckConstraint("length(nonce) BETWEEN 1 AND 64", name="nonce_length"),
        CheckConstraint("result <> 'accepted' OR is_admitted", name="accepted_admits"),
        CheckConstraint(
            "NOT is_admitted OR (ticket_id IS NOT NULL AND (result = 'accepted' OR is_offline))", name="admitted_how"
        ),
        CheckConstraint("(undone_at IS NULL) = (undone_by_id IS NULL)", name="undone_by"),
        CheckConstraint("undone_at IS NULL OR is_admitted", name="undone_what"),
        UniqueConstraint("scanned_by_id", "nonce"),
        # A ticket's history.
        Index("ix_check_in_scans_ticket_id", "ticket_id"),
        # Nobody goes in twice with a ticket, and by which scan it is used.
        Index(
            "uq_check_in_scans_admitted",
            "ticket_id",
            unique=True,
            postgresql_where=text("is_admitted AND undone_at IS NULL"),
        ),
        # GET /events/{id}/check-in-conflicts, newest first.
        Index("ix_check_in_scans_conflicts", "event_id", "id", postgresql_where=text(CONFLICT)),
    )

    @property
    def is_conflict(self) -> bool:
        return self.is_offline and self.result is not ScanResult.ACCEPTED


class DoorCount(Identified, Base):
    """How many scans of one kind an event's gate made in a quarter of an hour: what the live figures add up."""

    __tablename__ = "door_counts"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    quarter: Mapped[datetime]
    gate: Mapped[str | None]
    tier_id: Mapped[UUID | None] = mapped_column(ForeignKey("ticket_tiers.id"))
    result: Mapped[ScanResult] = mapped_column(value_enum(ScanResult))
    is_offline: Mapped[bool]
    scans: Mapped[int]
    inside: Mapped[int]
    """How many of them let somebody in, and were not undone."""

    __table_args__ = (
        CheckConstraint("scans > 0 AND inside BETWEEN 0 AND scans", name="counts"),
        CheckConstraint("mod(extract(epoch FROM quarter), 900) = 0", name="quarter"),
        # The counting, and the figures of an event.
        UniqueConstraint(
            "event_id",
            "quarter",
            "gate",
            "tier_id",
            "result",
            "is_offline",
            postgresql_nulls_not_distinct=True,
            name="uq_door_counts_kind",
        ),
    )
