"""Answers that are given again to who repeats a request; those of a submit stand in the order itself."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from domain.models.base import Base, JSONObject


class IdempotencyKey(Base):
    """The first answer to a repeatable request other than a submit, kept to be given again."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    """SHA-256 over method, path and body."""
    response_status: Mapped[int]
    response_body: Mapped[JSONObject]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("length(key) BETWEEN 1 AND 255", name="key_length"),
        # The sweep deletes what is older than a day.
        Index("ix_idempotency_keys_created_at", "created_at"),
    )
