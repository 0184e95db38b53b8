"""Logging in and staying logged in: passwords checked, refresh tokens rotated, families of them revoked.

A family is one log-in: each refresh token works once and is replaced by the next. Whoever brings a used one again,
thief or victim, ends the family (RFC 9700 section 4.14.2); two tabs that refresh at the same moment do so too, and log
in again. Encoding tokens is the web's business; accounts themselves are in `accounts.py`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, sessionmaker
from uuid_utils.compat import uuid7

from domain import audit
from domain.audit import Actor, actor_of
from domain.errors import NotFoundError, UnauthenticatedError
from domain.models import RefreshToken, User
from domain.ports import PasswordHasher
from domain.rules.states import UserRole


@dataclass(frozen=True, slots=True)
class Grant:
    """A refresh token to be handed out."""

    user_id: UUID
    token_id: UUID
    family_id: UUID
    issued_at: datetime
    expires_at: datetime


def log_in(
    sessions: sessionmaker[Session],
    hasher: PasswordHasher,
    credentials: tuple[str, str],
    actor: Actor,
    *,
    decoy_hash: str,
    lifetime: timedelta,
    now: datetime,
) -> tuple[User, Grant]:
    """Check an address and a password, and begin a family.

    Raises `UnauthenticatedError` (`invalid-credentials`), alike for a wrong password, an unknown address and a closed
    account, after the same work; `BusyError` when too many passwords are being checked.
    """
    email, password = credentials
    with sessions() as session:
        user = find_user_by_email(session, email)
    # No connection is held while the hash is computed: it takes a quarter of a second.
    matches = hasher.verify(password, user.password_hash if user is not None else decoy_hash)
    if user is None or not matches or not user.is_active:
        if user is not None:
            with sessions.begin() as session:
                audit.record(session, actor, "user.log_in_failed", user)
        raise UnauthenticatedError("E-mail address or password is wrong.", code="invalid-credentials")
    with sessions.begin() as session:
        user = session.merge(user, load=False)
        user.last_login_at = now
        grant = _grant(session, user, uuid7(), actor, lifetime, now)
        audit.record(session, actor_of(user, actor), "user.log_in", user, new={"family": str(grant.family_id)})
    return user, grant


def refresh(
    sessions: sessionmaker[Session], token_id: UUID, actor: Actor, *, lifetime: timedelta, now: datetime
) -> tuple[User, Grant]:
    """Exchange a refresh token for the next one of its family.

    Raises `UnauthenticatedError` if it is unknown, expired or revoked, or its account closed; and if it was used
    before, which revokes the family.
    """
    with sessions.begin() as session:
        outcome = _exchange(session, token_id, actor, lifetime, now)
    # Raised only now: the revocation of a family must be committed.
    if outcome is None:
        raise UnauthenticatedError("This log-in has ended: log in again.", code="token-invalid")
    return outcome


def log_out(session: Session, actor: Actor, family_id: UUID, now: datetime) -> None:
    """End the actor's family; ending it twice changes nothing."""
    user = session.get(User, actor.user_id)
    if user is None:
        raise NotFoundError("account")
    if _revoke(session, now, RefreshToken.family_id == family_id, RefreshToken.user_id == user.id):
        audit.record(session, actor, "user.log_out", user, new={"family": str(family_id)})


def revoke_all(session: Session, user_id: UUID, now: datetime) -> None:
    """End every log-in of a user."""
    _revoke(session, now, RefreshToken.user_id == user_id)


def delete_expired(session: Session, now: datetime) -> int:
    """Delete refresh tokens that have expired, and return how many they were."""
    deleted = session.execute(delete(RefreshToken).where(RefreshToken.expires_at < now).returning(RefreshToken.id))
    return len(deleted.all())


def find_user_by_email(session: Session, email: str) -> User | None:
    """Return the account of an address, whatever its case."""
    return session.scalar(select(User).where(func.lower(User.email) == func.lower(email), User.deleted_at.is_(None)))


def read_role(session: Session, user_id: UUID) -> UserRole | None:
    """Return a user's role as of now; None if the account is closed."""
    query = select(User.role).where(User.id == user_id, User.is_active, User.deleted_at.is_(None))
    return session.scalar(query)


def _exchange(
    session: Session, token_id: UUID, actor: Actor, lifetime: timedelta, now: datetime
) -> tuple[User, Grant] | None:
    token = session.get(RefreshToken, token_id, with_for_update=True)
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        return None
    user = session.get_one(User, token.user_id)
    if token.used_at is not None:
        _revoke(session, now, RefreshToken.family_id == token.family_id)
        audit.record(session, actor, "user.token_reused", user, new={"family": str(token.family_id)})
        return None
    if not user.is_active or user.is_deleted:
        return None
    token.used_at = now
    return user, _grant(session, user, token.family_id, actor, lifetime, now)


def _grant(session: Session, user: User, family_id: UUID, actor: Actor, lifetime: timedelta, now: datetime) -> Grant:
    token = RefreshToken(
        id=uuid7(),
        user_id=user.id,
        family_id=family_id,
        created_at=now,
        expires_at=now + lifetime,
        ip=actor.ip,
        user_agent=actor.user_agent[: audit.USER_AGENT_LENGTH] if actor.user_agent else None,
    )
    session.add(token)
    return Grant(user.id, token.id, family_id, now, token.expires_at)


def _revoke(session: Session, now: datetime, *conditions: object) -> bool:
    """Revoke what meets the conditions and is not revoked yet; tell whether there was anything."""
    statement = update(RefreshToken).where(*conditions, RefreshToken.revoked_at.is_(None))  # type: ignore[arg-type]
    revoked = session.execute(statement.values(revoked_at=now).returning(RefreshToken.id))
    return bool(revoked.all())
