"""How old the figures are. The materialized views themselves are read as tables (domain/analytics.py)."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from domain.models.base import Base


class AnalyticsRefresh(Base):
    """One row per materialized view."""

    __tablename__ = "analytics_refreshes"

    view: Mapped[str] = mapped_column(primary_key=True)
    refreshed_at: Mapped[datetime]
    """Whatever was committed by then is counted."""
