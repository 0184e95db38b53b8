"""The webhook inbox as an operator meets it: looking for events, and having one handled again.

Storing events is in `webhooks.py`; what they mean is in `payments/events.py` and `deliveries.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain import audit
from domain.audit import Actor
from domain.errors import NotFoundError
from domain.messages import announce
from domain.models import WebhookEvent
from domain.periods import within
from domain.webhooks import MESSAGES


class InboxStatus(StrEnum):
    """Where an event is: not handled yet, not handled for a reason that is kept with it, or done with."""

    WAITING = "waiting"
    FAILED = "failed"
    PROCESSED = "processed"


@dataclass(frozen=True, slots=True)
class InboxSearch:
    """What to find in the inbox; what is None does not narrow it."""

    provider: str | None = None
    status: InboxStatus | None = None
    type: str | None = None
    since: datetime | None = None


_IS = {
    InboxStatus.WAITING: WebhookEvent.processed_at.is_(None) & WebhookEvent.error.is_(None),
    InboxStatus.FAILED: WebhookEvent.processed_at.is_(None) & WebhookEvent.error.is_not(None),
    InboxStatus.PROCESSED: WebhookEvent.processed_at.is_not(None),
}


def status_of(event: WebhookEvent) -> InboxStatus:
    """Tell where an event is."""
    if event.processed_at is not None:
        return InboxStatus.PROCESSED
    return InboxStatus.WAITING if event.error is None else InboxStatus.FAILED


def search(session: Session, wanted: InboxSearch, *, before: UUID | None, limit: int) -> Sequence[WebhookEvent]:
    """Return the newest events that match, those older than the event `before`, at most `limit` + 1 of them."""
    query = select(WebhookEvent).order_by(WebhookEvent.id.desc()).limit(limit + 1)
    query = query.where(*within(WebhookEvent.id, WebhookEvent.received_at, wanted.since, None))
    if wanted.provider is not None:
        query = query.where(WebhookEvent.provider == wanted.provider)
    if wanted.status is not None:
        query = query.where(_IS[wanted.status])
    if wanted.type is not None:
        query = query.where(WebhookEvent.type == wanted.type)
    return session.scalars(query if before is None else query.where(WebhookEvent.id < before)).all()


def find(session: Session, event_id: UUID) -> WebhookEvent:
    """Return an event; raise `NotFoundError`."""
    event = session.get(WebhookEvent, event_id)
    if event is None:
        raise NotFoundError("event in the inbox")
    return event


def replay(session: Session, actor: Actor, event_id: UUID) -> WebhookEvent:
    """Have an event handled again, whatever became of it before: handlers do nothing twice. Raise `NotFoundError`.

    It counts as new: one that was given up has all its tries again.
    """
    event = session.get(WebhookEvent, event_id, with_for_update=True)
    if event is None:
        raise NotFoundError("event in the inbox")
    old = {"status": status_of(event), "attempts": event.attempts, "error": event.error}
    event.processed_at, event.attempts, event.error = None, 0, None
    audit.record(session, actor, "webhook.replay", event, old=old, new={"status": InboxStatus.WAITING})
    announce(session, MESSAGES[event.provider](event.id))
    return event
