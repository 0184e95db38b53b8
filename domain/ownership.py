"""Who may do what with an event: its promoter and admins everything, their team by right, others see what is public.

What nobody but these may see looks to others as if it did not exist.
"""

from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, contains_eager

from domain.audit import Actor
from domain.errors import ConflictError, ForbiddenError, NotFoundError
from domain.models import Event, TeamMember
from domain.rules.states import EventStatus, TeamRight, UserRole

ALL_RIGHTS = frozenset(TeamRight)
NO_RIGHTS: frozenset[TeamRight] = frozenset()


def find_event(session: Session, actor: Actor, event_id: UUID, right: TeamRight, *, noun: str = "event") -> Event:
    """Return an event in which the actor has the right, with its promoter.

    Raises `NotFoundError` of the noun that was asked for if the actor may not see the event, `ForbiddenError` if they
    lack the right.
    """
    return _require(session, session.scalar(_with_promoter(event_id)), actor, right, noun)


def lock_event(
    session: Session, actor: Actor, event_id: UUID, right: TeamRight = TeamRight.MANAGE, *, noun: str = "event"
) -> Event:
    """Lock an event for an edit, and return it as it is now, with its promoter.

    The lock is FOR NO KEY UPDATE: orders may refer to the event meanwhile, its tiers' consumers wait. Raises
    `NotFoundError` of the noun that was asked for if the actor may not see the event, `ForbiddenError` if they lack
    the right.
    """
    query = _with_promoter(event_id).with_for_update(key_share=True, of=Event)
    event = session.scalar(query.execution_options(populate_existing=True))
    return _require(session, event, actor, right, noun)


def rights_in(session: Session, event: Event, actor: Actor) -> frozenset[TeamRight]:
    """Return what the actor, who may be a stranger, may do in an event beyond what everybody may."""
    if actor.role is UserRole.ADMIN:
        return ALL_RIGHTS
    if actor.user_id is None:
        return NO_RIGHTS
    if event.promoter.user_id == actor.user_id:
        return ALL_RIGHTS
    rights = session.scalar(
        select(TeamMember.rights).where(
            TeamMember.promoter_id == event.promoter_id, TeamMember.user_id == actor.user_id
        )
    )
    return frozenset(map(TeamRight, rights)) if rights else NO_RIGHTS


def may(session: Session, event: Event, actor: Actor, right: TeamRight) -> bool:
    """Tell whether the actor has a right in the event."""
    return right in rights_in(session, event, actor)


def may_see(session: Session, event: Event, actor: Actor) -> bool:
    """Tell whether the actor, who may be a stranger, may know of the event."""
    return is_public(event) or bool(rights_in(session, event, actor))


def is_public(event: Event) -> bool:
    """Tell whether everybody may know of the event."""
    return not (event.is_private or event.status is EventStatus.DRAFT)


def require_open(event: Event) -> None:
    """Raise `ConflictError` unless the event is a draft or published."""
    if event.status not in {EventStatus.DRAFT, EventStatus.PUBLISHED}:
        raise ConflictError(f"The event is {event.status}.", code="event-closed")


def _with_promoter(event_id: UUID) -> Select[Event]:
    return (
        select(Event)
        .join(Event.promoter)
        .options(contains_eager(Event.promoter))
        .where(Event.id == event_id, Event.deleted_at.is_(None))
    )


def _require(session: Session, event: Event | None, actor: Actor, right: TeamRight, noun: str) -> Event:
    rights = rights_in(session, event, actor) if event is not None else NO_RIGHTS
    if event is None or not (rights or is_public(event)):
        raise NotFoundError(noun)
    if right not in rights:
        raise ForbiddenError("Only the promoter of this event and their team may do that, each by their rights.")
    return event
