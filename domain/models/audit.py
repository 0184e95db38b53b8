"""The audit log: people's acts and moves of money; rows are only ever added."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.models.base import Base, Identified, JSONObject

NOUN = text("split_part(action, '.', 1)")
"""What an act was about, by its name: the `order` of `order.refund`."""


class AuditLog(Identified, Base):
    __tablename__ = "audit_logs"

    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    """Null when the system itself acted."""
    action: Mapped[str]
    """`noun.verb`, such as `event.create` or `order.refund`."""
    entity_type: Mapped[str]
    entity_id: Mapped[UUID]
    old_data: Mapped[JSONObject | None]
    new_data: Mapped[JSONObject | None]
    """Values that changed; personal ones appear as references to `audit_personal_values`."""
    ip: Mapped[str | None]
    user_agent: Mapped[str | None]
    request_id: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("action ~ '^[a-z_]+[.][a-z_]+$'", name="action_shape"),
        # What happened to a thing, and to all of a kind.
        Index("ix_audit_logs_entity_id_id", "entity_id", "id"),
        Index("ix_audit_logs_entity_type_id", "entity_type", "id"),
        # What a person did.
        Index("ix_audit_logs_actor_id_id", "actor_id", "id"),
        # Which acts of a kind there were: `order.refund`, and all on orders.
        Index("ix_audit_logs_action_id", "action", "id"),
        Index("ix_audit_logs_noun_id", NOUN, "id"),
        # What a request did, and what came from an address.
        Index("ix_audit_logs_request_id_id", "request_id", "id", postgresql_where=text("request_id IS NOT NULL")),
        Index("ix_audit_logs_ip_id", "ip", "id", postgresql_where=text("ip IS NOT NULL")),
        # Search by time over a table that only grows.
        Index("ix_audit_logs_at", "at", postgresql_using="brin"),
    )

    @property
    def is_create(self) -> bool:
        return self.old_data is None and self.new_data is not None

    @property
    def is_update(self) -> bool:
        return self.old_data is not None and self.new_data is not None

    @property
    def is_delete(self) -> bool:
        return self.old_data is not None and self.new_data is None

    @property
    def has_changes(self) -> bool:
        return self.old_data != self.new_data


class AuditPersonalValue(Base):
    """A personal value that the audit log refers to; erasing a person redacts it here."""

    __tablename__ = "audit_personal_values"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    audit_log_id: Mapped[UUID] = mapped_column(ForeignKey("audit_logs.id"))
    subject_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    field: Mapped[str]
    old_value: Mapped[str | None]
    new_value: Mapped[str | None]

    __table_args__ = (
        Index("ix_audit_personal_values_audit_log_id", "audit_log_id"),
        Index("ix_audit_personal_values_subject_id", "subject_id"),
    )
