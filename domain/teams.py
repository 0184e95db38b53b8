"""Teams: whom a promoter lets work on their events, and with which rights. What a right allows is in `ownership.py`.

A team is the promoter's own business, or an admin's; a member may leave by themselves.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from domain import audit
from domain.audit import Actor
from domain.changes import change
from domain.errors import ConflictError, NotFoundError
from domain.logins import find_user_by_email
from domain.models import Promoter, TeamMember
from domain.notifications import queue_mail
from domain.ownership import find_promoter, require_owner, rights_with
from domain.rules.states import TeamRight


def list_members(
    session: Session, actor: Actor, promoter_id: UUID | None, *, after: UUID | None, limit: int
) -> Sequence[TeamMember]:
    """Return who is in a promoter's team, with their accounts, at most `limit` + 1 of them. Raises as `_find_own`."""
    promoter = _find_own(session, actor, promoter_id)
    query = select(TeamMember).where(TeamMember.promoter_id == promoter.id).options(joinedload(TeamMember.user))
    if after is not None:
        query = query.where(TeamMember.id > after)
    return session.scalars(query.order_by(TeamMember.id).limit(limit + 1)).all()


def list_teams(session: Session, user_id: UUID, *, after: UUID | None, limit: int) -> Sequence[TeamMember]:
    """Return the teams that a person is in, with their promoters, at most `limit` + 1 of them."""
    query = select(TeamMember).where(TeamMember.user_id == user_id).options(joinedload(TeamMember.promoter))
    if after is not None:
        query = query.where(TeamMember.id > after)
    return session.scalars(query.order_by(TeamMember.id).limit(limit + 1)).all()


def add_member(
    session: Session, actor: Actor, promoter_id: UUID | None, email: str, rights: Collection[TeamRight]
) -> TeamMember:
    """Take a person into the team, and tell them by mail.

    Raises as `_find_own` does, and `ConflictError` if nobody has proved that this address is theirs, or they are in
    the team already.
    """
    promoter = _find_own(session, actor, promoter_id)
    user = find_user_by_email(session, email)
    if user is None or not (user.is_active and user.email_verified):
        raise ConflictError(
            "There is no account with this address, or it is not verified yet: ask them to register first.",
            code="no-verified-account",
            pointer="/email",
        )
    is_there = ConflictError("They are in the team already.", code="already-in-team", pointer="/email")
    if user.id == promoter.user_id:
        raise is_there
    member = TeamMember(id=uuid7(), promoter_id=promoter.id, user=user, rights=sorted(rights))
    try:
        with session.begin_nested():
            session.add(member)
    except IntegrityError:
        raise is_there from None
    audit.record(session, actor, "team.add", member, new=_told(member))
    _write_to(session, member, promoter)
    return member


def change_rights(session: Session, actor: Actor, member_id: UUID, rights: Collection[TeamRight]) -> TeamMember:
    """Give a member other rights; raises `NotFoundError`, or `ForbiddenError` for the team itself."""
    member = _lock(session, actor, member_id)
    require_owner(member.promoter, actor)
    old, new = change(member, {"rights": sorted(rights)})
    if new:
        audit.record(session, actor, "team.change", member, old=old, new=new)
    return member


def remove_member(session: Session, actor: Actor, member_id: UUID) -> None:
    """Take a member out of the team, or let them leave; raises as `change_rights` does."""
    member = _lock(session, actor, member_id)
    if member.user_id != actor.user_id:
        require_owner(member.promoter, actor)
    audit.record(session, actor, "team.remove", member, old=_told(member))
    session.delete(member)


def _find_own(session: Session, actor: Actor, promoter_id: UUID | None) -> Promoter:
    """Return the promoter whose team it is; raise `NotFoundError`, or `ForbiddenError` for the team itself."""
    promoter = find_promoter(session, actor, promoter_id, TeamRight.MANAGE)
    require_owner(promoter, actor)
    return promoter


def _lock(session: Session, actor: Actor, member_id: UUID) -> TeamMember:
    query = select(TeamMember).where(TeamMember.id == member_id).with_for_update(of=TeamMember)
    member = session.scalar(query.options(joinedload(TeamMember.user), joinedload(TeamMember.promoter)))
    if member is None or not (member.user_id == actor.user_id or rights_with(session, member.promoter, actor)):
        raise NotFoundError("member")
    return member


def _told(member: TeamMember) -> dict[str, object]:
    return {"promoter_id": str(member.promoter_id), "user_id": str(member.user_id), "rights": list(member.rights)}


def _write_to(session: Session, member: TeamMember, promoter: Promoter) -> None:
    queue_mail(
        session,
        template="team_joined",
        purpose=f"team_joined:{member.id}",
        recipient=member.user.email,
        recipient_name=member.user.full_name,
        user_id=member.user_id,
        context={"first_name": member.user.first_name, "promoter": promoter.display_name, "rights": member.rights},
    )
