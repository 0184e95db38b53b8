"""Duplicates of events: a new draft with the same tiers, perhaps at another time.

Nothing that was sold comes along, nor what was granted to those who bought it.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from domain import audit
from domain.audit import Actor
from domain.catalog import EventDetails, checked, open_draft, read_tiers
from domain.errors import InvalidError
from domain.models import Event, TicketTier
from domain.ownership import find_event
from domain.rules.states import TeamRight
from domain.terms import Platform
from domain.tiers import TierDetails

EVENT_TIMES = ("starts_at", "ends_at", "doors_at")
TIER_TIMES = ("sale_starts_at", "sale_ends_at")


def duplicate_event(
    session: Session,
    actor: Actor,
    event_id: UUID,
    platform: Platform,
    *,
    title: str | None = None,
    starts_at: datetime | None = None,
) -> Event:
    """Create a draft like an event, for the same promoter, with the fees of this moment; a duplicate is not featured.

    Another start moves all other times of the event and its tiers by the same distance. Raises what
    `ownership.find_event` raises, and `InvalidError` if the platform would not let such an event be created (any more).
    """
    event = find_event(session, actor, event_id, TeamRight.MANAGE)
    distance = starts_at - event.starts_at if starts_at is not None else timedelta()
    values = {field.name: getattr(event, field.name) for field in fields(EventDetails)}
    values |= _moved(event, EVENT_TIMES, distance) | {"is_featured": False, "refund_granted_until": None}
    if title is not None:
        values["title"] = title
    draft = open_draft(session, event.promoter, checked(EventDetails(**values), platform), platform)
    tiers = read_tiers(session, event.id)
    session.add_all(_copy(tier, draft, distance) for tier in tiers)
    audit.record(
        session,
        actor,
        "event.duplicate",
        draft,
        new={"title": draft.title, "duplicate_of": str(event.id), "tiers": len(tiers)},
    )
    return draft


def _copy(tier: TicketTier, draft: Event, distance: timedelta) -> TicketTier:
    values = {field.name: getattr(tier, field.name) for field in fields(TierDetails)}
    if tier.desired_quantity is not None:
        values["quantity"] = tier.desired_quantity
    return TicketTier(
        **values | _moved(tier, TIER_TIMES, distance), event_id=draft.id, sold=0, reserved=0, is_paused=False
    )


def _moved(row: Event | TicketTier, names: Sequence[str], distance: timedelta) -> dict[str, Any]:
    times = {name: getattr(row, name) for name in names}
    try:
        return {name: at and at + distance for name, at in times.items()}
    except OverflowError:
        raise InvalidError("This moves other times of the event beyond all years.", pointer="/starts_at") from None
