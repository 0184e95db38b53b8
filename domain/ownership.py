"""Who may see and who may change an event: its promoter and admins everything, others what is public.

What nobody but these may see looks to others as if it did not exist.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager

from domain.audit import Actor
from domain.errors import ConflictError, ForbiddenError, NotFoundError
from domain.models import Event
from domain.rules.states import EventStatus, UserRole


def lock_event(session: Session, actor: Actor, event_id: UUID, *, noun: str = "event") -> Event:
    """Lock an event for an edit by its promoter or an admin, and return it as it is now, with its promoter.

    The lock is FOR NO KEY UPDATE: orders may refer to the event meanwhile, its tiers' consumers wait. Raises
    `NotFoundError` of the noun that was asked for if the actor may not see the event, `ForbiddenError` if they may
    not change it.
    """
    event = session.scalar(
        select(Event)
        .join(Event.promoter)
        .options(contains_eager(Event.promoter))
        .where(Event.id == event_id, Event.deleted_at.is_(None))
        .with_for_update(key_share=True, of=Event)
        .execution_options(populate_existing=True)
    )
    if event is None or not may_see(event, actor):
        raise NotFoundError(noun)
    if not may_edit(event, actor):
        raise ForbiddenError("Only the promoter of this event may do that.")
    return event


def may_edit(event: Event, actor: Actor) -> bool:
    """Tell whether the actor is the event's promoter or an admin."""
    return actor.role is UserRole.ADMIN or event.promoter.user_id == actor.user_id


def may_see(event: Event, actor: Actor) -> bool:
    """Tell whether the actor, who may be a stranger, may know of the event."""
    return may_edit(event, actor) or not (event.is_private or event.status is EventStatus.DRAFT)


def require_open(event: Event) -> None:
    """Raise `ConflictError` unless the event is a draft or published."""
    if event.status not in {EventStatus.DRAFT, EventStatus.PUBLISHED}:
        raise ConflictError(f"The event is {event.status}.", code="event-closed")
