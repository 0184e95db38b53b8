"""What teams were told about orders that wait for their approval."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.models.base import Base


class ApprovalNotice(Base):
    """When an event's team last heard that orders wait, which spaces the mails, and whether more came since."""

    __tablename__ = "approval_notices"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"), primary_key=True)
    has_news: Mapped[bool]
    told_at: Mapped[datetime | None]

    __table_args__ = (
        # The sweep: who is to be told.
        Index("ix_approval_notices_due", "told_at", postgresql_where=text("has_news")),
    )
