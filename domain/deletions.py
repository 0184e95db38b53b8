"""Users and events that were deleted: they stay as rows, and an admin may bring them back.

Deleting an event is in `catalog.py`; erasing a person, from which nothing comes back, is in `erasure.py`.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from domain import audit
from domain.audit import Actor
from domain.changes import as_json
from domain.errors import ConflictError, NotFoundError
from domain.logins import find_user_by_email, revoke_all
from domain.models import Event, Promoter, User
from domain.users import lock_user, require_another_admin


def list_users(session: Session, *, before: UUID | None, limit: int) -> Sequence[User]:
    """Return the newest deleted users, those older than `before`, at most `limit` + 1 of them."""
    query = select(User).where(User.deleted_at.is_not(None)).order_by(User.id.desc()).limit(limit + 1)
    return session.scalars(query if before is None else query.where(User.id < before)).all()


def list_events(session: Session, *, before: UUID | None, limit: int) -> Sequence[Event]:
    """Return the newest deleted events, those older than `before`, at most `limit` + 1 of them."""
    query = select(Event).where(Event.deleted_at.is_not(None)).order_by(Event.id.desc()).limit(limit + 1)
    return session.scalars(query if before is None else query.where(Event.id < before)).all()


def delete_user(session: Session, actor: Actor, user_id: UUID, now: datetime) -> None:
    """Take an account away, with every log-in of it, until it is restored; its address is free meanwhile.

    Raises `NotFoundError`, or `ConflictError` (`last-admin`).
    """
    require_another_admin(session, user_id)
    user = lock_user(session, user_id)
    user.deleted_at = now
    revoke_all(session, user.id, now)
    audit.record(session, actor, "user.delete", user, old={"role": user.role})


def restore_user(session: Session, actor: Actor, user_id: UUID) -> User:
    """Bring a deleted account back as it was, without its log-ins; restoring twice changes nothing.

    Raises `NotFoundError`, or `ConflictError`: `email-taken` if somebody registered with the address meanwhile,
    `user-erased` if the person was forgotten.
    """
    query = select(User).where(User.id == user_id).options(joinedload(User.promoter))
    user = session.scalar(query.with_for_update(key_share=True, of=User))
    if user is None:
        raise NotFoundError("user")
    if user.erased_at is not None:
        raise ConflictError("This person was erased: nothing is left to restore.", code="user-erased")
    if user.is_deleted:
        if find_user_by_email(session, user.email) is not None:
            raise ConflictError("Somebody else has an account with this address by now.", code="email-taken")
        _restore(session, actor, "user.restore", user)
    return user


def restore_event(session: Session, actor: Actor, event_id: UUID) -> Event:
    """Bring a deleted event back, with its promoter; restoring twice changes nothing.

    One that was on sale when it was deleted is cancelled, and stays so. Its slug was kept for it. Raises
    `NotFoundError`.
    """
    query = select(Event).where(Event.id == event_id).options(joinedload(Event.promoter).joinedload(Promoter.user))
    event = session.scalar(query.with_for_update(key_share=True, of=Event))
    if event is None:
        raise NotFoundError("event")
    if event.is_deleted:
        _restore(session, actor, "event.restore", event)
    return event


def _restore(session: Session, actor: Actor, act: str, thing: User | Event) -> None:
    old = as_json({"deleted_at": thing.deleted_at})
    thing.deleted_at = None
    audit.record(session, actor, act, thing, old=old, new={"deleted_at": None})
    session.flush()
