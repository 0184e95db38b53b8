"""Purchases: orders, their items, and the timeline that the buyer can read."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    UniqueConstraint,
    func,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from domain.models.accounts import User
from domain.models.base import (
    EMPTY_OBJECT,
    SALE_SEQUENCE,
    Amount,
    Base,
    Identified,
    JSONObject,
    Timestamped,
    value_enum,
)
from domain.models.catalog import Event, TicketTier
from domain.models.codes import Code
from domain.rules.states import (
    InventoryState,
    OrderReason,
    OrderSource,
    OrderStage,
    OrderStatus,
    PaymentStatus,
)


class Order(Identified, Timestamped, Base):
    __tablename__ = "orders"

    sequence: Mapped[int] = mapped_column(BigInteger, SALE_SEQUENCE, server_default=SALE_SEQUENCE.next_value())
    """The order's place in the line; its items carry the same number."""
    number: Mapped[str] = mapped_column(
        Computed(
            "'TV-' || CASE WHEN sequence < 100000000 THEN lpad(sequence::text, 8, '0') ELSE sequence::text END",
            persisted=True,
        ),
    )
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    status: Mapped[OrderStatus] = mapped_column(value_enum(OrderStatus), server_default="pending")
    stage: Mapped[OrderStage] = mapped_column(value_enum(OrderStage), server_default="queued")
    reason: Mapped[OrderReason | None] = mapped_column(value_enum(OrderReason))
    payment_status: Mapped[PaymentStatus] = mapped_column(value_enum(PaymentStatus), server_default="pending")
    source: Mapped[OrderSource] = mapped_column(value_enum(OrderSource), server_default="direct")
    version: Mapped[int] = mapped_column(server_default=text("1"), server_onupdate=FetchedValue())
    """Counted up by a trigger at each change; the base of the ETag."""

    currency: Mapped[str]
    subtotal: Mapped[Amount]
    fees: Mapped[Amount]
    """The platform's fees that the buyer pays on top."""
    absorbed_fees: Mapped[Amount] = mapped_column(server_default=text("0"))
    """The platform's fees that the promoter pays out of the price."""
    tax: Mapped[Amount]
    total: Mapped[Amount]
    refunded: Mapped[Amount] = mapped_column(server_default=text("0"))

    stripe_payment_intent_id: Mapped[str | None]
    stripe_charge_id: Mapped[str | None]
    stripe_client_secret: Mapped[str | None]
    billing_name: Mapped[str | None]
    billing_email: Mapped[str | None]
    billing_address: Mapped[JSONObject | None]

    held_at: Mapped[datetime | None]
    """When the consumer reserved all of the order's stock."""
    hold_expires_at: Mapped[datetime | None]
    """When the running clock ends: to complete all tiers, to approve, to accept an offer, or to pay."""
    hold_limit_at: Mapped[datetime | None]
    """The latest moment to which the clock to pay can be moved."""
    hold_extended: Mapped[bool] = mapped_column(server_default=text("false"))
    """Paying extends the hold once."""
    confirmed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    refunded_at: Mapped[datetime | None]

    idempotency_key: Mapped[str | None]
    """The client's, unique per user; null for orders made by the waitlist."""
    idempotency_fingerprint: Mapped[str | None]
    request_id: Mapped[str | None]
    """Of the request that made it, so that logs of all its tasks can be found."""

    user: Mapped[User] = relationship(lazy="raise")
    event: Mapped[Event] = relationship(lazy="raise")
    items: Mapped[list["OrderItem"]] = relationship(
        back_populates="order", lazy="raise", order_by="OrderItem.id", foreign_keys="OrderItem.order_id"
    )
    timeline: Mapped[list["TimelineEntry"]] = relationship(lazy="raise", order_by="TimelineEntry.id")

    # A hot table: each index here serves a query of every sale, and each costs every sale.
    __table_args__ = (
        CheckConstraint("subtotal >= 0 AND fees >= 0 AND absorbed_fees >= 0 AND tax >= 0", name="amounts"),
        CheckConstraint("total = subtotal + fees + tax", name="total_adds_up"),
        CheckConstraint("refunded BETWEEN 0 AND total", name="never_refunded_more"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        CheckConstraint("(status = 'confirmed') = (stage IN ('issuing', 'complete'))", name="status_of_stage"),
        CheckConstraint("(status IN ('cancelled', 'refunded')) = (stage = 'closed')", name="closed_status"),
        CheckConstraint("stage <> 'closed' OR reason IS NOT NULL OR status = 'refunded'", name="closed_reason"),
        CheckConstraint("length(idempotency_key) BETWEEN 1 AND 255", name="idempotency_key_length"),
        CheckConstraint("idempotency_key IS NULL OR idempotency_fingerprint IS NOT NULL", name="key_has_fingerprint"),
        # The replay of a submit; the loser of a race waits on it.
        UniqueConstraint("user_id", "idempotency_key"),
        # GET /orders, newest first. Unique, so that items can refer to an order and its user together.
        UniqueConstraint("user_id", "id"),
        # GET /events/{id}/orders, and the refunds of a cancelled event.
        Index("ix_orders_event_id_id", "event_id", "id"),
        # The sweep: whose clock ran out.
        Index("ix_orders_clock", "hold_expires_at", postgresql_where=text("hold_expires_at IS NOT NULL")),
        # The sweep: who stands still between two steps, and must be rung again; who is to be told of a wait.
        Index(
            "ix_orders_unsettled",
            "stage",
            "updated_at",
            postgresql_where=text(
                "stage IN ('awaiting_approval', 'held', 'payment_delayed', 'processing', 'expiring', 'issuing')"
            ),
        ),
        # The submit: how many orders of this person for this event are undecided.
        Index(
            "ix_orders_undecided",
            "user_id",
            "event_id",
            postgresql_where=text("stage IN ('queued', 'partly_held')"),
        ),
        # The promoter's search: orders that were billed to somebody, by a part of that name or address.
        Index(
            "ix_orders_billing_search",
            literal_column("((COALESCE(billing_name, '') || ' ') || COALESCE(billing_email, ''))").label("billed"),
            postgresql_using="gin",
            postgresql_ops={"billed": "gin_trgm_ops"},
            postgresql_where=text("billing_name IS NOT NULL OR billing_email IS NOT NULL"),
        ),
        # The promoter's list of what awaits approval.
        Index(
            "ix_orders_awaiting_approval",
            "event_id",
            "id",
            postgresql_where=text("stage = 'awaiting_approval'"),
        ),
        # People name an order by its number. With a condition it is no key, which each change of an order would lock.
        Index("uq_orders_number", "number", unique=True, postgresql_where=text("number IS NOT NULL")),
        # A webhook names an intent.
        Index(
            "uq_orders_stripe_payment_intent_id",
            "stripe_payment_intent_id",
            unique=True,
            postgresql_where=text("stripe_payment_intent_id IS NOT NULL"),
        ),
    )

    @property
    def promised_until(self) -> datetime | None:
        """When the running clock ends, as far as people may rely on it.

        While the payment is being opened only the latest possible end is known, and the time to pay will be shorter.
        """
        unpromised = {OrderStage.HELD, OrderStage.EXPIRING, OrderStage.CLOSED}
        return self.hold_expires_at if self.stage not in unpromised else None

    @property
    def is_pending(self) -> bool:
        return self.status is OrderStatus.PENDING

    @property
    def is_confirmed(self) -> bool:
        return self.status is OrderStatus.CONFIRMED

    @property
    def is_paid(self) -> bool:
        return self.payment_status is PaymentStatus.COMPLETED

    @property
    def discount(self) -> int:
        return sum(item.discount for item in self.items)

    @property
    def code(self) -> str | None:
        """The code that was sent with it."""
        return next((item.code.code for item in self.items if item.code is not None), None)

    @property
    def total_tickets(self) -> int:
        return sum(item.quantity for item in self.items)


class OrderItem(Identified, Base):
    """What an order wants of one tier: the unit that the tier's consumer serves."""

    __tablename__ = "order_items"

    order_id: Mapped[UUID]
    user_id: Mapped[UUID]
    """The order's; the foreign key holds both to one row. By it is read what a person holds of a tier."""
    tier_id: Mapped[UUID] = mapped_column(ForeignKey("ticket_tiers.id"))
    sequence: Mapped[int] = mapped_column(BigInteger)
    quantity: Mapped[int]
    unit_price: Mapped[Amount]
    subtotal: Mapped[Amount]
    fees: Mapped[Amount]
    absorbed_fees: Mapped[Amount] = mapped_column(server_default=text("0"))
    tax: Mapped[Amount]
    attendees: Mapped[list[JSONObject] | None]
    """Name and e-mail of each ticket's holder, where the buyer gave them."""
    inventory_state: Mapped[InventoryState] = mapped_column(value_enum(InventoryState), server_default="queued")
    desired_state: Mapped[InventoryState | None] = mapped_column(value_enum(InventoryState, checked=False))
    """What everybody but the consumer may write: the state that the consumer is asked to bring the item to.

    sold after a payment, released after any end, reserved (again) for a payment that came after the end.
    """
    returned: Mapped[int] = mapped_column(server_default=text("0"))
    """How many of the sold tickets were refunded singly and given back; only the consumer changes it."""
    desired_returned: Mapped[int | None]
    """How many of them should have been given back by now; written beside `desired_state`."""
    salt: Mapped[UUID] = mapped_column(default=uuid4, server_default=func.gen_random_uuid())
    """122 random bits, told to the buyer in the receipt: they hide the order in the public log (domain/fairness.py)."""
    withdrawal: Mapped[int | None]
    """Of an item that left the line undecided: its number among those of its tier, given by the consumer."""
    code_id: Mapped[UUID | None] = mapped_column(ForeignKey("codes.id"))
    """The code with which it was bought, where that is for its tier; frozen like the price."""

    # By the order alone: a list of pairs would not be looked up in an index.
    order: Mapped[Order] = relationship(back_populates="items", lazy="raise", foreign_keys="OrderItem.order_id")
    tier: Mapped[TicketTier] = relationship(lazy="raise")
    code: Mapped[Code | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity"),
        CheckConstraint(
            "subtotal = unit_price * quantity OR code_id IS NOT NULL AND subtotal BETWEEN 0 AND unit_price * quantity",
            name="subtotal",
        ),
        CheckConstraint("unit_price >= 0 AND fees >= 0 AND absorbed_fees >= 0 AND tax >= 0", name="amounts"),
        CheckConstraint("desired_state IN ('sold', 'released', 'reserved')", name="desired_state_wish"),
        CheckConstraint("returned BETWEEN 0 AND quantity", name="returned"),
        CheckConstraint("desired_returned BETWEEN 0 AND quantity", name="desired_returned"),
        CheckConstraint("withdrawal > 0", name="withdrawal"),
        ForeignKeyConstraint(["user_id", "order_id"], ["orders.user_id", "orders.id"]),
        UniqueConstraint("order_id", "tier_id"),
        # The tier's line, and the count of who is ahead.
        Index(
            "ix_order_items_line",
            "tier_id",
            "sequence",
            postgresql_where=text("inventory_state = 'queued' AND desired_state IS NULL"),
        ),
        # What else the consumer is asked to do.
        Index("ix_order_items_wishes", "tier_id", "sequence", postgresql_where=text("desired_state IS NOT NULL")),
        # Who has left the line unserved since somebody read it.
        Index(
            "uq_order_items_withdrawals",
            "tier_id",
            "withdrawal",
            unique=True,
            postgresql_where=text("withdrawal IS NOT NULL"),
        ),
        # What a person holds of a tier, for its limit per person.
        Index(
            "ix_order_items_held",
            "tier_id",
            "user_id",
            postgresql_where=text("inventory_state IN ('reserved', 'sold')"),
        ),
        # What a person holds with a code; counting again what was taken with it, and deleting one that nobody has.
        Index("ix_order_items_code_id_user_id", "code_id", "user_id", postgresql_where=text("code_id IS NOT NULL")),
    )

    @property
    def discount(self) -> int:
        """What a code took off."""
        return self.unit_price * self.quantity - self.subtotal


class TimelineEntry(Base):
    """One thing that happened to an order, in words that the buyer can read."""

    __tablename__ = "order_timeline"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    data: Mapped[JSONObject] = mapped_column(server_default=EMPTY_OBJECT, default=dict)
