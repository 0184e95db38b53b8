"""Users as an admin sees them: finding them, and changing their roles or closing their accounts.

Deleting and restoring them is in `deletions.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session, contains_eager, joinedload

from domain import audit
from domain.audit import Actor
from domain.changes import change
from domain.errors import ConflictError, NotFoundError
from domain.logins import revoke_all
from domain.models import Promoter, User
from domain.rules.states import UserRole, VerificationStatus


@dataclass(frozen=True, slots=True)
class UserSearch:
    """What to find; what is None does not narrow it. `words` is a part of a name or address."""

    words: str | None = None
    role: UserRole | None = None
    verification: VerificationStatus | None = None
    """Of promoters: how far their verification is."""


def list_users(session: Session, wanted: UserSearch, *, before: UUID | None, limit: int) -> Sequence[User]:
    """Return the newest users that match, those older than `before`, at most `limit` + 1 of them."""
    query = select(User).outerjoin(User.promoter).options(contains_eager(User.promoter))
    query = query.where(User.deleted_at.is_(None)).order_by(User.id.desc()).limit(limit + 1)
    if wanted.role is not None:
        query = query.where(User.role == wanted.role)
    if wanted.verification is not None:
        query = query.where(Promoter.verification_status == wanted.verification)
    if wanted.words is not None:
        # Spelled like the index ix_users_search, or the index would not serve it.
        names = text("(first_name || ' ' || last_name || ' ' || email) ILIKE :words ESCAPE '!'")
        query = query.where(names.bindparams(words=f"%{_escape(wanted.words)}%"))
    if before is not None:
        query = query.where(User.id < before)
    return session.scalars(query).all()


def read_user(session: Session, user_id: UUID) -> User:
    """Return a user, open or closed, with their promoter profile; raise `NotFoundError`."""
    user = session.get(User, user_id, options=[joinedload(User.promoter)])
    if user is None or user.is_deleted:
        raise NotFoundError("user")
    return user


def change_user(session: Session, actor: Actor, user_id: UUID, values: dict[str, Any], now: datetime) -> User:
    """Set `role` or `is_active` of a user; a closed account is logged out everywhere.

    Raises `NotFoundError`, or `ConflictError` (`last-admin`) if nobody could administer the platform afterwards.
    """
    if not (values.get("role", UserRole.ADMIN) is UserRole.ADMIN and values.get("is_active", True)):
        require_another_admin(session, user_id)
    user = lock_user(session, user_id)
    old, new = change(user, values)
    if new:
        if not user.is_active:
            revoke_all(session, user.id, now)
        audit.record(session, actor, "user.change", user, old=old, new=new)
    return user


def lock_user(session: Session, user_id: UUID) -> User:
    """Lock a user, open or closed, and return them as they are now, with their promoter profile.

    Raises `NotFoundError`.
    """
    lock = {"key_share": True, "of": User}
    user = session.get(User, user_id, options=[joinedload(User.promoter)], with_for_update=lock, populate_existing=True)
    if user is None or user.is_deleted:
        raise NotFoundError("user")
    return user


def require_another_admin(session: Session, user_id: UUID) -> None:
    """Raise `ConflictError` (`last-admin`) if nobody could administer the platform without this user."""
    # Locked together and in order, so that two admins cannot remove each other at the same moment.
    admins = session.scalars(_open_admins().with_for_update(key_share=True)).all()
    if [admin.id for admin in admins] == [user_id]:
        raise ConflictError("Make somebody else an administrator first.", code="last-admin")


def _open_admins() -> Select[User]:
    return select(User).where(User.role == UserRole.ADMIN, User.is_active, User.deleted_at.is_(None)).order_by(User.id)


def _escape(words: str) -> str:
    return words.replace("!", "!!").replace("%", "!%").replace("_", "!_")
