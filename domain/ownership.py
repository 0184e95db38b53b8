"""Who may do what with an event: its promoter and admins everything, their team by right, others see what is public.

What nobody but these may see looks to others as if it did not exist.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from domain.audit import Actor
from domain.errors import ConflictError, ForbiddenError, NotFoundError
from domain.models import Event, Promoter, TeamMember, User
from domain.rules.states import EventStatus, TeamRight, UserRole

ALL_RIGHTS = frozenset(TeamRight)
NO_RIGHTS: frozenset[TeamRight] = frozenset()
IN_OFFICE = and_(User.role != UserRole.USER, User.is_active, User.deleted_at.is_(None))
"""Whether a promoter's account is such that they, and their team, may do anything."""


def find_event(session: Session, actor: Actor, event_id: UUID, *rights: TeamRight) -> Event:
    """Return an event in which the actor has one of the rights, with its promoter.

    Raises `NotFoundError` if the actor may not see the event, `ForbiddenError` if they lack the rights.
    """
    return _require(session, session.scalar(_with_promoter(event_id)), actor, rights, "event")


def find_event_of(session: Session, actor: Actor, event_id: UUID, right: TeamRight, noun: str) -> Event:
    """Return the event of something that only its promoter and their team may know of, such as a code.

    Raises `NotFoundError` of that noun for everybody else, `ForbiddenError` if a member lacks the right.
    """
    event = session.scalar(_with_promoter(event_id))
    if event is None or not rights_in(session, event, actor):
        raise NotFoundError(noun)
    return _require(session, event, actor, [right], noun)


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
    return _require(session, event, actor, (right,), noun)


def find_promoter(session: Session, actor: Actor, promoter_id: UUID | None, right: TeamRight) -> Promoter:
    """Return a promoter for whom the actor has the right, with their account; without an id, the actor's own profile.

    Raises `NotFoundError` if the actor has nothing to do with them, `ForbiddenError` if they lack the right.
    """
    whose = Promoter.id == promoter_id if promoter_id else Promoter.user_id == actor.user_id
    promoter = session.scalar(select(Promoter).where(whose).options(joinedload(Promoter.user)))
    rights = rights_with(session, promoter, actor) if promoter is not None else NO_RIGHTS
    if promoter is None or not rights:
        raise NotFoundError("promoter profile")
    _require_right(rights, [right])
    return promoter


def require_owner(promoter: Promoter, actor: Actor) -> None:
    """Raise `ForbiddenError` for the promoter's team: what cannot be taken back is for the promoter, or an admin."""
    if actor.role is not UserRole.ADMIN and actor.user_id != promoter.user_id:
        raise ForbiddenError("Only the promoter may do that, not their team.")


def rights_in(session: Session, event: Event, actor: Actor) -> frozenset[TeamRight]:
    """Return what the actor, who may be a stranger, may do in an event beyond what everybody may."""
    return rights_with(session, event.promoter, actor)


def rights_with(session: Session, promoter: Promoter, actor: Actor) -> frozenset[TeamRight]:
    """Return what the actor may do in all of a promoter's events.

    The promoter's account is read anew: where it was closed, or the role taken away, their team may do nothing either.
    """
    if actor.role is UserRole.ADMIN:
        return ALL_RIGHTS
    if actor.user_id is None:
        return NO_RIGHTS
    member = and_(TeamMember.promoter_id == promoter.id, TeamMember.user_id == actor.user_id)
    standing = session.execute(
        select(TeamMember.rights)
        .select_from(User)
        .outerjoin(TeamMember, member)
        .where(User.id == promoter.user_id, IN_OFFICE)
    ).one_or_none()
    if standing is None:
        return NO_RIGHTS
    return ALL_RIGHTS if promoter.user_id == actor.user_id else frozenset(map(TeamRight, standing.rights or ()))


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


def _require(session: Session, event: Event | None, actor: Actor, needed: Collection[TeamRight], noun: str) -> Event:
    rights = rights_in(session, event, actor) if event is not None else NO_RIGHTS
    if event is None or not (rights or is_public(event)):
        raise NotFoundError(noun)
    _require_right(rights, needed)
    return event


def _require_right(rights: frozenset[TeamRight], needed: Collection[TeamRight]) -> None:
    if rights.isdisjoint(needed):
        one_of = " or ".join(needed)
        raise ForbiddenError(f"Only the promoter may do that, and who has the right to {one_of} in their team.")
