"""Money: attempts to move it (mutable), the ledger of what moved (append-only), and the webhook inbox."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from domain.models.base import Amount, Base, Identified, JSONObject, Timestamped, value_enum
from domain.models.catalog import Event
from domain.models.orders import Order
from domain.rules.attempts import may_move
from domain.rules.states import AttemptKind, AttemptStatus, LedgerKind

OPEN_STATUSES = (
    AttemptStatus.CREATED,
    AttemptStatus.REQUIRES_PAYMENT_METHOD,
    AttemptStatus.REQUIRES_ACTION,
    AttemptStatus.PROCESSING,
    AttemptStatus.UNKNOWN,
)
"""Statuses of an attempt whose outcome is still to come."""


class PaymentTransaction(Identified, Timestamped, Base):
    """An attempt to move money, committed before the provider is called."""

    __tablename__ = "payment_transactions"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_transactions.id"))
    """The charge that a refund or dispute is about."""
    kind: Mapped[AttemptKind] = mapped_column(value_enum(AttemptKind))
    attempt: Mapped[int] = mapped_column(default=1)
    """Counts openings of an intent, or refunds, of one order."""
    provider: Mapped[str] = mapped_column(default="stripe")
    provider_transaction_id: Mapped[str | None]
    provider_account_id: Mapped[str | None]
    amount: Mapped[Amount]
    currency: Mapped[str]
    status: Mapped[AttemptStatus] = mapped_column(value_enum(AttemptStatus), default=AttemptStatus.CREATED)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    raw_reference: Mapped[JSONObject | None]
    """What the provider last said, reduced to what a person needs to look it up: never card data."""
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    called_at: Mapped[datetime | None]
    """When the provider was first called with this key; keys are only fresh for a day."""
    payment_method: Mapped[str | None]
    """The provider's id of the payment method that the buyer asked to confirm with."""
    confirmations: Mapped[int] = mapped_column(default=0)
    """Counts the buyer's requests to confirm; each has its own key."""
    confirm_due: Mapped[bool] = mapped_column(default=False)
    next_action: Mapped[JSONObject | None]
    """What the buyer's client must do next, such as 3-D Secure, in the provider's form."""
    reason: Mapped[str | None]
    returns_fee: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether the platform gives its fee back with a refund, in proportion; decided when the refund is asked for."""
    reverses_transfer: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether a promoter's account pays for a refund; else it is paid from what came back to the platform's."""
    requested_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))

    order: Mapped[Order] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        CheckConstraint("attempt > 0 AND confirmations >= 0", name="counts"),
        CheckConstraint("(kind = 'charge') = (parent_id IS NULL)", name="parent"),
        CheckConstraint("NOT confirm_due OR payment_method IS NOT NULL", name="confirm_has_method"),
        UniqueConstraint("order_id", "kind", "attempt"),
        # A webhook or an operator names the provider's object.
        Index(
            "uq_payment_transactions_provider",
            "provider",
            "provider_transaction_id",
            unique=True,
            postgresql_where=text("provider_transaction_id IS NOT NULL"),
        ),
        # One live intent per order.
        Index(
            "uq_payment_transactions_live_charge",
            "order_id",
            unique=True,
            postgresql_where=text(
                "kind = 'charge' AND status IN "
                "('created', 'requires_payment_method', 'requires_action', 'processing', 'unknown')"
            ),
        ),
        # The reconciler: attempts whose outcome is still to come, oldest look first.
        Index(
            "ix_payment_transactions_open",
            "kind",
            "updated_at",
            postgresql_where=text(
                "status IN ('created', 'requires_payment_method', 'requires_action', 'processing', 'unknown')"
            ),
        ),
        # The refunds of a charge.
        Index("ix_payment_transactions_parent_id", "parent_id"),
    )

    @validates("status")
    def _move(self, _: str, status: AttemptStatus) -> AttemptStatus:
        if self.status is not None and not may_move(self.kind, self.status, status):
            raise ValueError(f"A {self.kind} that is {self.status} cannot become {status}.")
        return status

    @property
    def is_pending(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def is_completed(self) -> bool:
        return self.status is AttemptStatus.SUCCEEDED

    @property
    def is_failed(self) -> bool:
        return self.status in {AttemptStatus.FAILED, AttemptStatus.CANCELLED}

    @property
    def has_error(self) -> bool:
        return self.error_code is not None or self.error_message is not None


class LedgerEntry(Base):
    """One movement of money that happened; rows are only ever added."""

    __tablename__ = "ledger_entries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"))
    transaction_id: Mapped[UUID] = mapped_column(ForeignKey("payment_transactions.id"))
    kind: Mapped[LedgerKind] = mapped_column(value_enum(LedgerKind))
    amount: Mapped[Amount]
    """Signed as the order sees it: charges and reversals are positive, refunds and disputes negative.

    A fee is negative, and positive where it goes back with a refund.
    """
    currency: Mapped[str]
    provider_reference: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("amount <> 0", name="amount"),
        CheckConstraint("kind = 'fee' OR (kind IN ('charge', 'reversal')) = (amount > 0)", name="sign"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        # A movement is written once, and undone once, however often it is reported.
        Index("uq_ledger_entries_movement", "transaction_id", "kind", text("(amount > 0)"), unique=True),
        # The money of an order, and a statement over a day.
        Index("ix_ledger_entries_order_id", "order_id"),
        Index("ix_ledger_entries_at", "at", postgresql_using="brin"),
    )


class PaymentFeed(Base):
    """How far the provider's list of events was read, so that no event depends on its webhook."""

    __tablename__ = "payment_feed"

    provider: Mapped[str] = mapped_column(primary_key=True)
    last_event_id: Mapped[str | None]
    read_until: Mapped[datetime]
    """Everything that happened before then is in the inbox."""


class Statement(Identified, Base):
    """An event's money as the provider, the ledger and the tickets had it at one moment, and where they differ."""

    __tablename__ = "statements"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"))
    event: Mapped[Event] = relationship(lazy="raise")
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    made_at: Mapped[datetime | None]
    """Null while it is being made."""
    body: Mapped[JSONObject | None]
    """Totals, and each mismatch, by `domain.rules.statements`."""
    difference: Mapped[Amount | None]
    """What cannot be explained, in minor units: the sum of all mismatches, each without its sign."""

    __table_args__ = (
        CheckConstraint("difference >= 0", name="difference"),
        CheckConstraint("(made_at IS NULL) = (body IS NULL)", name="made_whole"),
        CheckConstraint("(made_at IS NULL) = (difference IS NULL)", name="made_with_difference"),
        # GET /events/{id}/statement: the last one that was made.
        Index("ix_statements_event_id_made_at", "event_id", "made_at"),
        # One under way per event, and the sweep for those.
        Index("uq_statements_under_way", "event_id", unique=True, postgresql_where=text("made_at IS NULL")),
    )


SUBJECT = text(
    "left(coalesce(payload ->> 'notification_id', "
    "payload #>> '{data,object,payment_intent}', payload #>> '{data,object,id}'), 255)"
)
"""What an event is about: our mail, or the provider's intent, or else its object. Stripe's ids have at most 255
characters (docs.stripe.com/upgrades); more is a whole object, which no index holds."""


class WebhookEvent(Identified, Base):
    """A verified event of a provider, stored once before it is acknowledged."""

    __tablename__ = "webhook_inbox"

    provider: Mapped[str]
    provider_event_id: Mapped[str]
    type: Mapped[str]
    payload: Mapped[JSONObject]
    account: Mapped[str | None]
    """The connected account that it happened on; null for our own."""
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    processed_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("provider IN ('stripe', 'sendgrid')", name="provider"),
        UniqueConstraint("provider", "provider_event_id"),
        # The sweep: what was acknowledged and not handled yet.
        Index("ix_webhook_inbox_unprocessed", "received_at", postgresql_where=text("processed_at IS NULL")),
        # Erasing a person: the events about their payments and mails.
        Index("ix_webhook_inbox_subject", SUBJECT),
        # The admin's list by type, newest first.
        Index("ix_webhook_inbox_provider_type_id", "provider", "type", "id"),
    )
