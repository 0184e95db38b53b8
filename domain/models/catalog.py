"""What is for sale: events and their ticket tiers."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, Numeric, text
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Text

from domain.models.accounts import Promoter
from domain.models.base import Amount, Base, Identified, SoftDeleted, Timestamped, utc_now, value_enum
from domain.rules.states import EventStatus

SEARCH_VECTOR = (
    "setweight(to_tsvector('simple', coalesce(title, '')), 'A') || "
    "setweight(to_tsvector('simple', coalesce(venue_name, '') || ' ' || coalesce(city, '')), 'B') || "
    "setweight(to_tsvector('simple', coalesce(category, '') || ' ' || immutable_join(tags)), 'B') || "
    "setweight(to_tsvector('simple', coalesce(description, '')), 'C')"
)
"""`immutable_join` is a function of the first migration: array_to_string is only STABLE."""

PUBLIC = "status = 'published' AND NOT is_private AND deleted_at IS NULL"
"""What anybody may see in the list of events."""

REMINDER_HOURS = 24
LONGEST_REMINDER_HOURS = 14 * 24


class Event(Identified, Timestamped, SoftDeleted, Base):
    __tablename__ = "events"

    promoter_id: Mapped[UUID] = mapped_column(ForeignKey("promoters.id"))
    title: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str | None]
    category: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"), default=list)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    doors_at: Mapped[datetime | None]
    timezone: Mapped[str]
    """IANA name, in which people read the times."""
    venue_name: Mapped[str | None]
    address_line1: Mapped[str | None]
    address_line2: Mapped[str | None]
    city: Mapped[str | None]
    region: Mapped[str | None]
    postal_code: Mapped[str | None]
    country: Mapped[str | None]
    latitude: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))
    longitude: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))
    status: Mapped[EventStatus] = mapped_column(value_enum(EventStatus), default=EventStatus.DRAFT)
    is_featured: Mapped[bool] = mapped_column(default=False)
    is_private: Mapped[bool] = mapped_column(default=False)
    image_url: Mapped[str | None]
    capacity: Mapped[int]
    """The tiers' quantities together never exceed it."""
    currency: Mapped[str]
    fee_rate_bps: Mapped[int]
    """The platform's fee on each line, frozen from the promoter's terms when the event is created."""
    fee_fixed: Mapped[int]
    """The platform's fee per paid ticket, in minor units, frozen likewise."""
    returns_fees: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether the platform's fee goes back with a refund, frozen likewise; after a cancelled event it always does."""
    buyer_refund_hours: Mapped[int | None]
    """Until how many hours before the start buyers may refund themselves; null where they may not."""
    transfers_allowed: Mapped[bool] = mapped_column(server_default=text("true"), default=True)
    """Whether holders may hand their tickets on."""
    transfer_until_hours: Mapped[int | None]
    """Until how many hours before the start they may; null means until the start."""
    refund_granted_until: Mapped[datetime | None]
    """Until when buyers may refund themselves whatever that policy says, because the event was changed."""
    reminder_hours: Mapped[int | None] = mapped_column(server_default=text("24"), default=REMINDER_HOURS)
    """How long before the start holders are reminded by mail; null where they are not."""
    absorbs_fees: Mapped[bool] = mapped_column(default=False)
    """True when the promoter pays the fees out of the price, false when they come on top."""
    tax_rate_bps: Mapped[int] = mapped_column(default=0)
    offer_seconds: Mapped[int | None]
    """How long a waitlist offer stands; the platform's default where null."""
    skips_large_groups: Mapped[bool] = mapped_column(default=True)
    """Whether a waiting group that does not fit is passed over by smaller ones behind it."""
    published_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    search_vector: Mapped[str] = mapped_column(TSVECTOR, Computed(SEARCH_VECTOR, persisted=True), deferred=True)

    promoter: Mapped[Promoter] = relationship(lazy="raise")
    tiers: Mapped[list["TicketTier"]] = relationship(
        back_populates="event", lazy="raise", order_by="(TicketTier.sort_order, TicketTier.id)"
    )

    __table_args__ = (
        CheckConstraint("length(title) BETWEEN 1 AND 200", name="title_length"),
        CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="slug_shape"),
        CheckConstraint("ends_at > starts_at", name="ends_after_start"),
        CheckConstraint("doors_at <= starts_at", name="doors_before_start"),
        CheckConstraint("capacity > 0", name="capacity"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        CheckConstraint("country ~ '^[A-Z]{2}$'", name="country_iso"),
        CheckConstraint("latitude BETWEEN -90 AND 90", name="latitude"),
        CheckConstraint("longitude BETWEEN -180 AND 180", name="longitude"),
        CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name="coordinates_together"),
        CheckConstraint("fee_rate_bps BETWEEN 0 AND 10000 AND fee_fixed >= 0", name="fees"),
        CheckConstraint("tax_rate_bps BETWEEN 0 AND 10000", name="tax_rate"),
        CheckConstraint("offer_seconds > 0", name="offer_seconds"),
        CheckConstraint("buyer_refund_hours >= 0", name="buyer_refund_hours"),
        CheckConstraint("transfer_until_hours >= 0", name="transfer_until_hours"),
        CheckConstraint(f"reminder_hours BETWEEN 1 AND {LONGEST_REMINDER_HOURS}", name="reminder_hours"),
        CheckConstraint("status = 'draft' OR status = 'cancelled' OR published_at IS NOT NULL", name="published_when"),
        CheckConstraint("(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled_when"),
        # The public list: coming events in order of time, and by city or category.
        Index("ix_events_public", "starts_at", "id", postgresql_where=text(PUBLIC)),
        Index("ix_events_public_city", text("lower(city)"), "starts_at", "id", postgresql_where=text(PUBLIC)),
        Index(
            "ix_events_public_category",
            text("lower(category)"),
            "starts_at",
            "id",
            postgresql_where=text(PUBLIC),
        ),
        Index("ix_events_featured", "starts_at", postgresql_where=text(f"is_featured AND {PUBLIC}")),
        # A promoter's own list.
        Index("ix_events_promoter_id_id", "promoter_id", "id"),
        # q=… and tag=… of the public list.
        Index("ix_events_search_vector", "search_vector", postgresql_using="gin"),
        Index("ix_events_tags", "tags", postgresql_using="gin"),
        Index("ix_events_title_trigram", "title", postgresql_using="gin", postgresql_ops={"title": "gin_trgm_ops"}),
        # The admin's list of deleted events.
        Index("ix_events_deleted", "id", postgresql_where=text("deleted_at IS NOT NULL")),
        # The sweep completes what has ended, reminds of what is near, and refunds what was cancelled.
        Index("ix_events_ended", "ends_at", postgresql_where=text("status = 'published'")),
        Index(
            "ix_events_reminded",
            "starts_at",
            postgresql_where=text("status = 'published' AND reminder_hours IS NOT NULL"),
        ),
        Index("ix_events_cancelled_at", "cancelled_at", postgresql_where=text("status = 'cancelled'")),
    )

    @property
    def is_published(self) -> bool:
        return self.status is EventStatus.PUBLISHED

    @property
    def is_cancelled(self) -> bool:
        return self.status is EventStatus.CANCELLED

    @property
    def is_upcoming(self) -> bool:
        return self.starts_at > utc_now()

    @property
    def is_past(self) -> bool:
        return self.ends_at <= utc_now()

    @property
    def location_string(self) -> str:
        return ", ".join(part for part in (self.venue_name, self.city, self.region, self.country) if part)


class TicketTier(Identified, Timestamped, Base):
    __tablename__ = "ticket_tiers"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    name: Mapped[str]
    description: Mapped[str | None]
    price: Mapped[Amount]
    quantity: Mapped[int]
    desired_quantity: Mapped[int | None]
    """A quantity that the promoter asked for and the tier's consumer has not applied yet."""
    quantity_refusal: Mapped[str | None]
    """Why the consumer refused the last desired quantity, for the promoter to read."""
    sold: Mapped[int] = mapped_column(default=0)
    reserved: Mapped[int] = mapped_column(default=0)
    recount_due: Mapped[bool] = mapped_column(default=False)
    """Asks the consumer to count the rows again and correct `reserved` and `sold`."""
    min_per_order: Mapped[int] = mapped_column(default=1)
    max_per_order: Mapped[int] = mapped_column(default=10)
    max_per_person: Mapped[int | None]
    sale_starts_at: Mapped[datetime | None]
    sale_ends_at: Mapped[datetime | None]
    requires_approval: Mapped[bool] = mapped_column(default=False)
    sort_order: Mapped[int] = mapped_column(default=0)
    is_active: Mapped[bool] = mapped_column(default=True)
    is_hidden: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """Seen and bought only by who has a code that opens it."""
    is_paused: Mapped[bool] = mapped_column(default=False)
    """Pause stops serving, not accepting and not settling."""
    is_draining: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    """Takes no new orders, while those in line are served."""
    service_rate: Mapped[float | None]
    """Orders decided per second while somebody waited, a moving average; the base of each ETA."""
    decided_until: Mapped[int] = mapped_column(BigInteger, server_default=text("0"), default=0)
    """The highest number in line that the consumer has decided; it never falls (docs/adr/0016)."""
    decided_at: Mapped[datetime | None]
    """When the consumer last decided an order."""
    withdrawn: Mapped[int] = mapped_column(server_default=text("0"), default=0)
    """How many have left the line undecided, by cancelling for instance: the last `withdrawal` of its items."""
    fairness_position: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """How many entries the tier's public log has; moved by the consumer alone, like the counters."""
    fairness_hash: Mapped[bytes] = mapped_column(server_default=text("decode(repeat('00', 32), 'hex')"))
    """The hash of the last of them, which stands for all."""

    event: Mapped[Event] = relationship(back_populates="tiers", lazy="raise")

    __table_args__ = (
        CheckConstraint("length(name) BETWEEN 1 AND 100", name="name_length"),
        CheckConstraint("price >= 0", name="price"),
        # Together they also keep the quantity from being negative.
        CheckConstraint("sold >= 0 AND reserved >= 0", name="counters"),
        CheckConstraint("sold + reserved <= quantity", name="never_oversold"),
        CheckConstraint("desired_quantity >= 0", name="desired_quantity"),
        CheckConstraint("min_per_order BETWEEN 1 AND max_per_order", name="per_order"),
        CheckConstraint("max_per_person >= min_per_order", name="per_person"),
        CheckConstraint("sale_ends_at > sale_starts_at", name="sale_window"),
        CheckConstraint("fairness_position >= 0 AND octet_length(fairness_hash) = 32", name="fairness_head"),
        CheckConstraint("decided_until >= 0 AND withdrawn >= 0", name="line_counters"),
        # The tiers of an event in the promoter's order.
        Index("ix_ticket_tiers_event_id_sort_order", "event_id", "sort_order", "id"),
        # What the consumers must look at besides waiting orders.
        Index(
            "ix_ticket_tiers_wishes",
            "id",
            postgresql_where=text("desired_quantity IS NOT NULL OR recount_due"),
        ),
    )

    @property
    def available(self) -> int:
        return self.quantity - self.sold - self.reserved

    @property
    def is_sold_out(self) -> bool:
        return self.available <= 0

    @property
    def is_on_sale(self) -> bool:
        now = utc_now()
        return (
            self.is_active
            and (self.sale_starts_at is None or self.sale_starts_at <= now)
            and (self.sale_ends_at is None or now < self.sale_ends_at)
        )

    @property
    def percent_sold(self) -> float:
        return 100 * self.sold / self.quantity if self.quantity else 100.0

    def can_purchase(self, quantity: int) -> bool:
        """Tell whether an order of this many would be within the limits, the window and the stock right now."""
        return self.is_on_sale and self.min_per_order <= quantity <= self.max_per_order and quantity <= self.available
