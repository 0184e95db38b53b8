"""Discount and access codes of an event, with the counters of what was taken with them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.models.base import Base, Identified, Timestamped


class Code(Identified, Timestamped, Base):
    """What a buyer types in to pay less, or to buy what others do not see."""

    __tablename__ = "codes"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    code: Mapped[str]
    """In capitals, whatever people type."""
    discount_bps: Mapped[int | None]
    """Of each line, in basis points."""
    discount_amount: Mapped[int | None] = mapped_column(BigInteger)
    """Of each ticket, in minor units of the event's currency."""
    opens_hidden: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """Whether hidden tiers among `tier_ids` can be seen and bought with it."""
    tier_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"), default=list)
    """What it is for; all that everybody sees where empty. A tier that was deleted stays named: never becomes 'all'."""
    max_uses: Mapped[int | None]
    """How many orders may have it."""
    max_tickets: Mapped[int | None]
    max_per_person: Mapped[int | None]
    """How many tickets one person may have with it, over all of their orders."""
    valid_from: Mapped[datetime | None]
    valid_until: Mapped[datetime | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"), default=True)
    uses: Mapped[int] = mapped_column(server_default=text("0"), default=0)
    """Orders that hold or have tickets with it; like `tickets`, changed by the tiers' consumers, and counted again
    by the audit where they differ."""
    tickets: Mapped[int] = mapped_column(server_default=text("0"), default=0)

    __table_args__ = (
        CheckConstraint("code ~ '^[A-Z0-9][A-Z0-9-]{2,39}$'", name="code_shape"),
        CheckConstraint("discount_bps BETWEEN 1 AND 10000", name="discount_bps"),
        CheckConstraint("discount_amount > 0", name="discount_amount"),
        CheckConstraint("discount_bps IS NULL OR discount_amount IS NULL", name="one_discount"),
        CheckConstraint("opens_hidden OR num_nonnulls(discount_bps, discount_amount) = 1", name="purpose"),
        CheckConstraint("NOT opens_hidden OR cardinality(tier_ids) > 0", name="opens_what"),
        CheckConstraint("max_uses > 0 AND max_tickets > 0 AND max_per_person > 0", name="limits"),
        CheckConstraint("valid_until > valid_from", name="validity"),
        CheckConstraint("uses BETWEEN 0 AND tickets", name="counters"),
        CheckConstraint("uses <= max_uses", name="never_overused"),
        CheckConstraint("tickets <= max_tickets", name="never_overdrawn"),
        # A code that is sent with an order.
        UniqueConstraint("event_id", "code"),
        # GET /events/{id}/codes, newest first.
        Index("ix_codes_event_id_id", "event_id", "id"),
    )
