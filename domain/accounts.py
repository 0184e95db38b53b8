"""Accounts: registering, one's own profile, proving an address, and a new password by mail.

Logging in is in `logins.py`. An account works before its address is proven: tickets go to that address anyway, and a
buyer in a hurry should not wait for a mail.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker
from uuid_utils.compat import uuid7

from domain import audit, suppressions
from domain.audit import Actor, actor_of
from domain.errors import ConflictError, InvalidError, NotFoundError
from domain.logins import find_user_by_email, revoke_all
from domain.models import AccountToken, EmailNotification, User
from domain.notifications import queue_mail
from domain.one_time_tokens import TokenKeyring, hash_token, reference
from domain.ports import PasswordHasher
from domain.rules.passwords import weakness
from domain.rules.states import AccountTokenPurpose, UserRole

VERIFY_LIFETIME = timedelta(days=3)
RESET_LIFETIME = timedelta(minutes=30)
MAILS_PER_HOUR = 5
"""Mails of one template to one account: nobody's mailbox is flooded through us."""
MAIL_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Registration:
    """What somebody says who registers; their role is never theirs to say."""

    email: str
    password: str
    first_name: str
    last_name: str
    phone: str | None = None


def register(
    sessions: sessionmaker[Session],
    hasher: PasswordHasher,
    registration: Registration,
    actor: Actor,
    *,
    keyring: TokenKeyring,
    now: datetime,
) -> User:
    """Open an account, and mail a link that proves its address.

    Raises `InvalidError` for a password that is easy to guess, `ConflictError` (`email-taken`) for an address that has
    an account, `BusyError` when too many passwords are being hashed. That an address is taken is said openly: whoever
    registers may log in at once, so it could not be hidden.
    """
    _refuse_weak(registration.password, registration.email)
    with sessions() as session:
        _refuse_taken(session, registration.email)
    user = _new_user(registration, hasher.hash(registration.password), now)
    try:
        with sessions.begin() as session:
            session.add(user)
            session.flush()
            _mail_verification(session, user, keyring, now)
            personal = {name: (None, getattr(user, name)) for name in _PERSONAL if getattr(user, name) is not None}
            actor = actor_of(user, actor)
            audit.record(session, actor, "user.register", user, new={"role": user.role}, personal=personal)
    except IntegrityError as error:
        # Two registrations for one address at the same moment: the loser's is refused like any other.
        with sessions() as session:
            _refuse_taken(session, registration.email)
        raise error from None
    return user


def find_user(session: Session, user_id: UUID) -> User:
    """Return an open account; raise `NotFoundError` if there is none."""
    user = session.get(User, user_id)
    if user is None or user.is_deleted or not user.is_active:
        raise NotFoundError("account")
    return user


def edit_profile(session: Session, actor: Actor, values: Mapping[str, str | None]) -> User:
    """Change one's own first name, last name or phone."""
    if actor.user_id is None:
        raise NotFoundError("account")
    user = find_user(session, actor.user_id)
    changed = {name: (getattr(user, name), value) for name, value in values.items() if getattr(user, name) != value}
    for name, (_, value) in changed.items():
        setattr(user, name, value)
    if changed:
        audit.record(session, actor, "user.update", user, personal=changed)
    return user


def resend_verification(session: Session, actor: Actor, *, keyring: TokenKeyring, now: datetime) -> None:
    """Mail the actor a new link that proves the address, unless it is proven or one was mailed just now."""
    if actor.user_id is None:
        raise NotFoundError("account")
    user = find_user(session, actor.user_id)
    if not user.email_verified:
        _mail_verification(session, user, keyring, now)
        audit.record(session, actor, "user.resend_verification", user)


def verify_email(session: Session, token: str, actor: Actor, now: datetime) -> User:
    """Spend a link that proves an address; raise `ConflictError` (`link-spent`) if it cannot be spent."""
    user = _spend(session, token, AccountTokenPurpose.VERIFY_EMAIL, now)
    _prove_address(session, user, now)
    audit.record(session, actor_of(user, actor), "user.verify_email", user, new={"email_verified": True})
    return user


def request_password_reset(session: Session, email: str, actor: Actor, *, keyring: TokenKeyring, now: datetime) -> None:
    """Mail a link that sets a new password, if there is an open account; the caller is not told whether."""
    user = find_user_by_email(session, email)
    if user is None or not user.is_active or _has_enough_mail(session, user, "password_reset", now):
        return
    token = _new_token(session, user, AccountTokenPurpose.RESET_PASSWORD, RESET_LIFETIME, keyring, now)
    context = {"expires_minutes": int(RESET_LIFETIME.total_seconds() // 60), **reference(keyring, token.id)}
    _queue(session, user, "password_reset", token, context)
    audit.record(session, actor, "user.request_password_reset", user)


def reset_password(
    sessions: sessionmaker[Session], hasher: PasswordHasher, token: str, password: str, actor: Actor, *, now: datetime
) -> None:
    """Spend a link to set a new password, which ends every log-in of the account and proves its address.

    Raises `ConflictError` (`link-spent`), `InvalidError` for a password that is easy to guess, `BusyError`.
    """
    with sessions() as session:
        query = select(User).join(AccountToken, AccountToken.user_id == User.id)
        user = session.scalar(query.where(*_spendable(token, AccountTokenPurpose.RESET_PASSWORD, now)))
    if user is None:
        raise _spent()
    _refuse_weak(password, user.email)
    password_hash = hasher.hash(password)
    with sessions.begin() as session:
        user = _spend(session, token, AccountTokenPurpose.RESET_PASSWORD, now)
        user.password_hash = password_hash
        _prove_address(session, user, now)
        revoke_all(session, user.id, now)
        audit.record(session, actor_of(user, actor), "user.reset_password", user)


def delete_expired_tokens(session: Session, now: datetime) -> int:
    """Delete one-time tokens that have expired, and return how many they were."""
    deleted = session.execute(delete(AccountToken).where(AccountToken.expires_at < now).returning(AccountToken.id))
    return len(deleted.all())


_PERSONAL = ("email", "first_name", "last_name", "phone")


def _new_user(registration: Registration, password_hash: str, now: datetime) -> User:
    values = {name: getattr(registration, name) for name in _PERSONAL}
    return User(id=uuid7(), password_hash=password_hash, role=UserRole.USER, created_at=now, **values)


def _refuse_weak(password: str, email: str) -> None:
    if fault := weakness(password, email):
        raise InvalidError(fault, pointer="/password")


def _refuse_taken(session: Session, email: str) -> None:
    if find_user_by_email(session, email) is not None:
        raise ConflictError(
            "There is an account with this address: log in, or choose a new password by mail.",
            code="email-taken",
            pointer="/email",
        )


def _prove_address(session: Session, user: User, now: datetime) -> None:
    # Mail was read there just now, whatever came back before.
    suppressions.forget_bounces(session, user.email)
    if not user.email_verified:
        user.email_verified, user.email_verified_at = True, now


def _mail_verification(session: Session, user: User, keyring: TokenKeyring, now: datetime) -> None:
    if _has_enough_mail(session, user, "verify_email", now):
        return
    token = _new_token(session, user, AccountTokenPurpose.VERIFY_EMAIL, VERIFY_LIFETIME, keyring, now)
    _queue(session, user, "verify_email", token, reference(keyring, token.id))


def _queue(session: Session, user: User, template: str, token: AccountToken, context: Mapping[str, Any]) -> None:
    queue_mail(
        session,
        template=template,
        purpose=f"{template}:{token.id}",
        recipient=user.email,
        recipient_name=user.full_name,
        user_id=user.id,
        context={"first_name": user.first_name, **context},
    )


def _has_enough_mail(session: Session, user: User, template: str, now: datetime) -> bool:
    query = select(func.count(), func.max(EmailNotification.created_at)).where(
        EmailNotification.user_id == user.id,
        EmailNotification.template == template,
        EmailNotification.created_at > now - timedelta(hours=1),
    )
    count, latest = session.execute(query).one()
    return count >= MAILS_PER_HOUR or (latest is not None and latest > now - MAIL_PAUSE)


def _new_token(
    session: Session,
    user: User,
    purpose: AccountTokenPurpose,
    lifetime: timedelta,
    keyring: TokenKeyring,
    now: datetime,
) -> AccountToken:
    """Make a token, which spends the older ones of its purpose."""
    _spend_others(session, user.id, purpose, now)
    token_id = uuid7()
    token = AccountToken(
        id=token_id,
        user_id=user.id,
        purpose=purpose,
        token_hash=hash_token(keyring.token(token_id, keyring.current)),
        created_at=now,
        expires_at=now + lifetime,
    )
    session.add(token)
    return token


def _spendable(token: str, purpose: AccountTokenPurpose, now: datetime) -> tuple[Any, ...]:
    return (
        AccountToken.token_hash == hash_token(token),
        AccountToken.purpose == purpose,
        AccountToken.used_at.is_(None),
        AccountToken.expires_at > now,
    )


def _spend(session: Session, token: str, purpose: AccountTokenPurpose, now: datetime) -> User:
    # One statement, so that of two clicks at the same moment one finds it spent.
    statement = update(AccountToken).where(*_spendable(token, purpose, now)).values(used_at=now)
    user_id = session.scalar(statement.returning(AccountToken.user_id))
    user = session.get(User, user_id, with_for_update=True) if user_id is not None else None
    if user is None or user.is_deleted or not user.is_active:
        raise _spent()
    _spend_others(session, user.id, purpose, now)
    return user


def _spend_others(session: Session, user_id: UUID, purpose: AccountTokenPurpose, now: datetime) -> None:
    statement = update(AccountToken).where(
        AccountToken.user_id == user_id, AccountToken.purpose == purpose, AccountToken.used_at.is_(None)
    )
    session.execute(statement.values(used_at=now))


def _spent() -> ConflictError:
    return ConflictError("This link has been used, replaced by a newer one, or has expired.", code="link-spent")
