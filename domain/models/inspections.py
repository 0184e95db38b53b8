"""The last look at an event's invariants: what was broken, and when to look again."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from domain.models.base import EMPTY_OBJECT, Base, JSONObject


class Inspection(Base):
    """One row per event, written anew by each look (`domain/invariants/inspection.py`)."""

    __tablename__ = "inspections"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id"), primary_key=True)
    made_at: Mapped[datetime]
    due_at: Mapped[datetime]
    """When the sweep looks again."""
    breaches: Mapped[JSONObject] = mapped_column(server_default=EMPTY_OBJECT)
    """Ids of the broken rows, by the invariant's name: they wait for a person."""
    suspects: Mapped[JSONObject] = mapped_column(server_default=EMPTY_OBJECT)
    """Ids, likewise, of what was healed, or may pass by itself: what is found once more is a breach."""
