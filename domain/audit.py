"""The audit log: who did what to which row, written in the transaction of the act itself.

Personal values lie beside the log, so that erasing a person can redact them; the log says only that they changed.
What the allocator does is in the orders' timelines, not here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from domain.models import AuditLog, AuditPersonalValue, User
from domain.models.audit import NOUN
from domain.models.base import Identified
from domain.periods import within
from domain.rules.states import UserRole

USER_AGENT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and through which request; without a user it is the system itself, or a stranger."""

    user_id: UUID | None = None
    role: UserRole | None = None
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


SYSTEM = Actor()


@dataclass(frozen=True, slots=True)
class Search:
    """What to find in the log; what is None does not narrow it."""

    actor_id: UUID | None = None
    subject_id: UUID | None = None
    """Whose personal values the entry refers to."""
    entity_type: str | None = None
    entity_id: UUID | None = None
    action: str | None = None
    """`order.refund`, or `order.` for whatever was done to orders."""
    request_id: str | None = None
    ip: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def record(
    session: Session,
    actor: Actor,
    action: str,
    entity: Identified,
    *,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
    personal: Mapping[str, tuple[str | None, str | None]] | None = None,
    subject_id: UUID | None = None,
) -> AuditLog:
    """Write down an act (`noun.verb`) with the values that changed, as JSON's types.

    `personal` holds old and new personal values by field; they belong to `subject_id`, or to the entity itself where
    that is a user.
    """
    if entity.id is None:
        session.flush()
    entry = AuditLog(
        id=uuid7(),
        actor_id=actor.user_id,
        action=action,
        entity_type=type(entity).__name__,
        entity_id=entity.id,
        old_data=_with_references(old, personal, 0),
        new_data=_with_references(new, personal, 1),
        ip=actor.ip,
        user_agent=actor.user_agent[:USER_AGENT_LENGTH] if actor.user_agent else None,
        request_id=actor.request_id,
    )
    session.add(entry)
    if personal:
        # The log's row has no relationship to these, so it must be there before they are.
        session.flush()
        owner = subject_id or entity.id
        session.add_all(
            AuditPersonalValue(audit_log_id=entry.id, subject_id=owner, field=field, old_value=before, new_value=after)
            for field, (before, after) in personal.items()
        )
    return entry


def search(session: Session, wanted: Search, *, before: UUID | None, limit: int) -> Sequence[AuditLog]:
    """Return the newest entries that match, those older than the entry `before`, at most `limit` + 1 of them."""
    query = select(AuditLog).order_by(AuditLog.id.desc()).limit(limit + 1)
    query = query.where(*within(AuditLog.id, AuditLog.at, wanted.since, wanted.until))
    for column in (AuditLog.actor_id, AuditLog.entity_type, AuditLog.entity_id, AuditLog.request_id, AuditLog.ip):
        if (value := getattr(wanted, column.key)) is not None:
            query = query.where(column == value)
    if wanted.action is not None:
        noun, _, verb = wanted.action.partition(".")
        query = query.where(AuditLog.action == wanted.action if verb else literal_column(NOUN.text) == noun)
    if wanted.subject_id is not None:
        about = select(AuditPersonalValue.audit_log_id).where(AuditPersonalValue.subject_id == wanted.subject_id)
        query = query.where(AuditLog.id.in_(about))
    if before is not None:
        query = query.where(AuditLog.id < before)
    return session.scalars(query).all()


def personal_values(session: Session, entries: Sequence[AuditLog]) -> Sequence[AuditPersonalValue]:
    """Return the personal values that these entries refer to."""
    ids = [entry.id for entry in entries]
    return session.scalars(select(AuditPersonalValue).where(AuditPersonalValue.audit_log_id.in_(ids))).all()


def actor_of(user: User, stranger: Actor) -> Actor:
    """Return a request's stranger as the user that they have just proved to be."""
    return Actor(user.id, user.role, stranger.ip, stranger.user_agent, stranger.request_id)


def _with_references(
    values: Mapping[str, Any] | None, personal: Mapping[str, tuple[str | None, str | None]] | None, side: int
) -> dict[str, Any] | None:
    references = {field: "personal" for field, pair in (personal or {}).items() if pair[side] is not None}
    return {**(values or {}), **references} if values is not None or references else None
