"""Promoters: the profile that makes a user one, and its verification by an admin.

A promoter prepares events at once; which ones only a verified promoter may publish is in `rules/publishing.py`. Where
their money goes is in `payout_accounts.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from domain import audit
from domain.accounts import find_user
from domain.audit import Actor
from domain.changes import as_json, change
from domain.errors import ConflictError, NotFoundError
from domain.models import Promoter
from domain.models.base import JSONObject
from domain.rules.states import UserRole, VerificationStatus

IDENTIFYING = frozenset({"company_name", "tax_id", "country"})
"""What an admin looked at when verifying: a change of it asks for another look."""
PERSONAL = frozenset({"tax_id", "address_line1", "address_line2", "description", "website"})
"""What may be somebody's own: a sole trader's home and number, and what they tell about themselves."""


@dataclass(frozen=True, slots=True)
class PromoterTerms:
    """What the platform takes from a promoter's sales; the platform's defaults where None."""

    fee_rate_bps: int | None = None
    fee_fixed: int | None = None
    returns_fees: bool | None = None


def open_profile(session: Session, actor: Actor, values: Mapping[str, str | None]) -> Promoter:
    """Give the actor a promoter profile, which waits for verification, and the role that goes with it.

    Raises `ConflictError` (`profile-exists`) if there is one already.
    """
    user = find_user(session, _user_id(actor))
    promoter = Promoter(
        id=uuid7(), user_id=user.id, verification_status=VerificationStatus.PENDING, verified_at=None, **values
    )
    try:
        with session.begin_nested():
            session.add(promoter)
    except IntegrityError:
        raise ConflictError("You have a promoter profile already.", code="profile-exists") from None
    if user.role is UserRole.USER:
        user.role = UserRole.PROMOTER
        audit.record(session, actor, "user.promote", user, old={"role": UserRole.USER}, new={"role": user.role})
    _record(session, actor, "promoter.create", promoter, {}, as_json(values))
    return promoter


def find_own(session: Session, actor: Actor) -> Promoter:
    """Return the actor's profile; raise `NotFoundError` if there is none."""
    query = select(Promoter).where(Promoter.user_id == _user_id(actor)).options(joinedload(Promoter.user))
    promoter = session.scalar(query)
    if promoter is None:
        raise NotFoundError("promoter profile")
    return promoter


def lock_own(session: Session, actor: Actor) -> Promoter:
    """Lock the actor's profile and return it as it is now; raise `NotFoundError` if there is none."""
    return _lock(session, Promoter.user_id == _user_id(actor))


def edit_own(session: Session, actor: Actor, values: Mapping[str, str | None]) -> Promoter:
    """Change the actor's profile; what identifies the company asks for verification again."""
    promoter = lock_own(session, actor)
    wanted: dict[str, Any] = dict(values)
    if any(getattr(promoter, name) != values[name] for name in IDENTIFYING & values.keys()):
        wanted |= {"verification_status": VerificationStatus.PENDING, "verified_at": None}
    old, new = change(promoter, wanted)
    if new:
        _record(session, actor, "promoter.update", promoter, old, new)
    return promoter


def verify(session: Session, actor: Actor, promoter_id: UUID, now: datetime) -> Promoter:
    """Verify a promoter; raise `NotFoundError`, or `ConflictError` if they are verified."""
    promoter = _lock(session, Promoter.id == promoter_id)
    if promoter.is_verified:
        raise ConflictError("This promoter is verified already.")
    old, new = change(promoter, {"verification_status": VerificationStatus.VERIFIED, "verified_at": now})
    audit.record(session, actor, "promoter.verify", promoter, old=old, new=new)
    return promoter


def reject(session: Session, actor: Actor, promoter_id: UUID, reason: str) -> Promoter:
    """Reject a promoter, verified or not, for a reason that the audit log keeps; what is on sale stays on sale.

    Raises `NotFoundError`, or `ConflictError` if they are rejected.
    """
    promoter = _lock(session, Promoter.id == promoter_id)
    if promoter.verification_status is VerificationStatus.REJECTED:
        raise ConflictError("This promoter is rejected already.")
    old, new = change(promoter, {"verification_status": VerificationStatus.REJECTED, "verified_at": None})
    audit.record(session, actor, "promoter.reject", promoter, old=old, new={**new, "reason": reason})
    return promoter


def set_terms(session: Session, actor: Actor, promoter_id: UUID, terms: PromoterTerms) -> Promoter:
    """Set what the platform takes from this promoter's future events; raise `NotFoundError`."""
    promoter = _lock(session, Promoter.id == promoter_id)
    old, new = change(promoter, asdict(terms))
    if new:
        audit.record(session, actor, "promoter.set_terms", promoter, old=old, new=new)
    return promoter


def list_promoters(
    session: Session, status: VerificationStatus | None, *, before: UUID | None, limit: int
) -> Sequence[Promoter]:
    """Return the newest promoters, those older than `before`, at most `limit` + 1 of them."""
    query = select(Promoter).options(joinedload(Promoter.user)).order_by(Promoter.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(Promoter.verification_status == status)
    if before is not None:
        query = query.where(Promoter.id < before)
    return session.scalars(query).all()


def _lock(session: Session, *conditions: Any) -> Promoter:
    query = select(Promoter).where(*conditions).options(joinedload(Promoter.user)).with_for_update(of=Promoter)
    promoter = session.scalar(query)
    if promoter is None:
        raise NotFoundError("promoter profile")
    return promoter


def _record(session: Session, actor: Actor, action: str, promoter: Promoter, old: JSONObject, new: JSONObject) -> None:
    personal = {
        name: (old.get(name), new[name]) for name in PERSONAL & new.keys() if (old.get(name), new[name]) != (None, None)
    }
    audit.record(
        session,
        actor,
        action,
        promoter,
        old={name: value for name, value in old.items() if name not in PERSONAL} or None,
        new={name: value for name, value in new.items() if name not in PERSONAL},
        personal=personal,
        subject_id=promoter.user_id,
    )


def _user_id(actor: Actor) -> UUID:
    if actor.user_id is None:
        raise NotFoundError("account")
    return actor.user_id
