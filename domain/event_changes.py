"""Telling ticket holders and buyers that their event has changed: what is told, and that quick edits are one change.

Who is written to, and when, is in `mailings.py`; what the letter says in `mailing_letters.py`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from domain.audit import Actor
from domain.errors import InvalidError
from domain.models import Event, Mailing
from domain.models.base import JSONObject
from domain.rules.states import MailingKind, MailingStatus
from domain.venues import ADDRESS

TOLD = (
    "title",
    "starts_at",
    "ends_at",
    "venue_name",
    *ADDRESS,
    "refund_granted_until",
)
"""The fields of an event whose change is worth a mail."""
PAUSE = timedelta(minutes=5)
"""How long a change waits for the next edit before it is told: a mistake is often mended at once."""


def tell_of_changes(
    session: Session, actor: Actor, event: Event, old: JSONObject, new: JSONObject, now: datetime
) -> None:
    """Let the people of a locked, published event be told what has changed, together with what still waits to be.

    What is changed back before anybody heard of it is not told at all. Raises `InvalidError` if a refund is granted
    until a time that is past.
    """
    if "refund_granted_until" in new and event.refund_granted_until is not None and event.refund_granted_until <= now:
        raise InvalidError("A refund is granted until a time to come.", pointer="/refund_granted_until")
    if "starts_at" in new:
        _stop_reminding(session, event, now)
    edits = {name: [old[name], new[name]] for name in TOLD if name in new}
    if not edits:
        return
    waiting = _lock_waiting(session, event)
    changes = merge(waiting.changes if waiting else {}, edits)
    if not changes:
        if waiting:
            waiting.status, waiting.finished_at = MailingStatus.CANCELLED, now
        return
    if waiting is None:
        waiting = Mailing(event_id=event.id, kind=MailingKind.EVENT_CHANGED, created_by_id=actor.user_id)
        session.add(waiting)
    waiting.changes, waiting.due_at = changes, now + PAUSE


def merge(before: Mapping[str, list[Any]], edits: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return two changes as one: from the first old value to the last new one, without what is as it was."""
    both = {**before, **{name: [before.get(name, pair)[0], pair[1]] for name, pair in edits.items()}}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1] and not _takes_back(name, pair)}


def _takes_back(name: str, pair: list[Any]) -> bool:
    # A grant that ends early is no news: the order's page says until when it may be returned.
    return name == "refund_granted_until" and pair[1] is None


def _lock_waiting(session: Session, event: Event) -> Mailing | None:
    """Find the change that nobody has been told of yet; one whose first round has begun is told as it is."""
    return session.scalar(
        select(Mailing)
        .where(
            Mailing.event_id == event.id,
            Mailing.kind == MailingKind.EVENT_CHANGED,
            Mailing.status == MailingStatus.WAITING,
        )
        .with_for_update()
    )


def _stop_reminding(session: Session, event: Event, now: datetime) -> None:
    session.execute(
        update(Mailing)
        .where(
            Mailing.event_id == event.id,
            Mailing.kind == MailingKind.REMINDER,
            Mailing.status.in_([MailingStatus.WAITING, MailingStatus.SENDING]),
        )
        .values(status=MailingStatus.CANCELLED, finished_at=now)
    )
