"""Outgoing webhooks: where promoters want to be told of what happens, and the outbox of what they are told."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from domain.models.accounts import Promoter
from domain.models.base import Base, Identified, JSONObject, SoftDeleted, Timestamped, value_enum
from domain.rules.states import DeliveryStatus, DisabledReason, WebhookType


class WebhookEndpoint(Identified, Timestamped, SoftDeleted, Base):
    """An address of a promoter's. Its secrets are made from their ids and a key of the server's: no row has one."""

    __tablename__ = "webhook_endpoints"

    promoter_id: Mapped[UUID] = mapped_column(ForeignKey("promoters.id"))
    url: Mapped[str]
    types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Values of `WebhookType`."""
    secret_id: Mapped[UUID]
    secret_kid: Mapped[str]
    previous_secret_id: Mapped[UUID | None]
    previous_secret_kid: Mapped[str | None]
    previous_secret_until: Mapped[datetime | None]
    """Until then a second signature is made, so that the receiver can change over."""
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    """Tries that failed since the last one that did not."""
    failing_since: Mapped[datetime | None]
    paused_until: Mapped[datetime | None]
    """Nothing is tried before: an endpoint in trouble must not hold up everybody's."""
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[DisabledReason | None] = mapped_column(value_enum(DisabledReason))

    promoter: Mapped[Promoter] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint(
            "types <@ ARRAY['order.confirmed', 'order.cancelled', 'order.refunded', 'ticket.checked_in', "
            "'waitlist.joined', 'event.published', 'event.cancelled'] AND cardinality(types) BETWEEN 1 AND 7",
            name="types",
        ),
        CheckConstraint(
            "num_nonnulls(previous_secret_id, previous_secret_kid, previous_secret_until) IN (0, 3)",
            name="previous_secret_whole",
        ),
        CheckConstraint("failures >= 0 AND (failures > 0) = (failing_since IS NOT NULL)", name="failing_when"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled_why"),
        # A promoter's endpoints, and whether anybody wants to hear of an event of theirs.
        Index("ix_webhook_endpoints_promoter_id_id", "promoter_id", "id", postgresql_where=text("deleted_at IS NULL")),
    )

    @property
    def is_enabled(self) -> bool:
        return self.disabled_at is None and not self.is_deleted

    def secrets_at(self, now: datetime) -> list[tuple[UUID, str]]:
        """Return what the secrets are made from that sign at this time: two after a rotation."""
        secrets = [(self.secret_id, self.secret_kid)]
        if self.previous_secret_id and self.previous_secret_kid and self.previous_secret_until:
            secrets += [(self.previous_secret_id, self.previous_secret_kid)] * (self.previous_secret_until > now)
        return secrets


class WebhookDelivery(Identified, Timestamped, Base):
    """One thing that one endpoint is told, written in the transaction of what it tells."""

    __tablename__ = "webhook_deliveries"

    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_endpoints.id"))
    type: Mapped[WebhookType] = mapped_column(value_enum(WebhookType))
    data: Mapped[JSONObject]
    """Ids and states, nothing personal."""
    status: Mapped[DeliveryStatus] = mapped_column(value_enum(DeliveryStatus), default=DeliveryStatus.PENDING)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    response_status: Mapped[int | None]
    """Of the last try that was answered."""
    error: Mapped[str | None]
    delivered_at: Mapped[datetime | None]

    endpoint: Mapped[WebhookEndpoint] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("attempts >= 0", name="attempts"),
        CheckConstraint("(status = 'pending') = (next_attempt_at IS NOT NULL)", name="due_when"),
        CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_when"),
        # An endpoint's deliveries, newest first.
        Index("ix_webhook_deliveries_endpoint_id_id", "endpoint_id", "id"),
        # The sweep: what is due.
        Index("ix_webhook_deliveries_due", "next_attempt_at", postgresql_where=text("status = 'pending'")),
        # The sweep deletes what has grown old.
        Index("ix_webhook_deliveries_created_at", "created_at"),
    )
