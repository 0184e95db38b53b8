"""What a promoter writes to the ticket holders of an event: drafted, looked at, sent in rounds, called off.

The rounds are in `mailings.py`. Whatever is done here needs the right to manage the event, and raises what
`ownership.find_event` raises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from uuid_utils.compat import uuid7

from domain import audit
from domain.audit import Actor
from domain.changes import as_json
from domain.errors import ConflictError, InvalidError, NotFoundError
from domain.mailing_letters import facts_of
from domain.mailings import count_people
from domain.models import EmailNotification, Event, Mailing, TicketTier
from domain.models.mailings import LIVE_TICKETS
from domain.ownership import find_event
from domain.ports import Letter
from domain.rules.states import MailingKind, MailingStatus, MailStatus, TeamRight, TicketStatus

NOUN = "announcement"


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be said, and to whom: the holders of tickets of these tiers, or of all, in these states."""

    subject: str
    body: str
    tier_ids: Sequence[UUID] = ()
    ticket_statuses: Sequence[TicketStatus] = LIVE_TICKETS


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an announcement has come: whom it is for, and how their mails stand."""

    people: int
    mails: Mapping[MailStatus, int]


def draft(session: Session, actor: Actor, event_id: UUID, wanted: Draft) -> Mailing:
    """Write an announcement, which goes nowhere yet; raise `InvalidError` for a tier of another event."""
    event = find_event(session, actor, event_id, TeamRight.MANAGE)
    _check_tiers(session, event, wanted.tier_ids)
    values = {
        "subject": wanted.subject,
        "body": wanted.body,
        "tier_ids": list(dict.fromkeys(wanted.tier_ids)),
        "ticket_statuses": list(dict.fromkeys(wanted.ticket_statuses)),
    }
    mailing = Mailing(
        **values,
        id=uuid7(),
        event=event,
        kind=MailingKind.ANNOUNCEMENT,
        status=MailingStatus.DRAFT,
        created_by_id=actor.user_id,
    )
    session.add(mailing)
    told = {**as_json(values), "tier_ids": [str(tier_id) for tier_id in values["tier_ids"]]}
    audit.record(session, actor, "announcement.create", mailing, new=told)
    return mailing


def list_announcements(
    session: Session, actor: Actor, event_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[Mailing]:
    """Return an event's newest announcements, those older than the one `before`, at most `limit` + 1 of them."""
    find_event(session, actor, event_id, TeamRight.MANAGE)
    query = (
        select(Mailing)
        .where(Mailing.event_id == event_id, Mailing.kind == MailingKind.ANNOUNCEMENT)
        .order_by(Mailing.id.desc())
        .limit(limit + 1)
    )
    return session.scalars(query if before is None else query.where(Mailing.id < before)).all()


def read(session: Session, actor: Actor, event_id: UUID, announcement_id: UUID) -> Mailing:
    """Return an announcement with its event; raise `NotFoundError`."""
    event = find_event(session, actor, event_id, TeamRight.MANAGE)
    return _find(session, event, announcement_id)


def measure(session: Session, announcement: Mailing) -> Progress:
    """Return how far an announcement has come; before it starts, whom it would go to now is counted."""
    people = announcement.people if announcement.people is not None else count_people(session, announcement)
    counts = session.execute(
        select(EmailNotification.status, func.count().label("mails"))
        .where(EmailNotification.mailing_id == announcement.id)
        .group_by(EmailNotification.status)
    )
    return Progress(people, {row.status: row.mails for row in counts})


def preview(announcement: Mailing) -> Letter:
    """Return the letter as it would reach somebody; its link to unsubscribe leads nowhere."""
    event = announcement.event
    context = {**facts_of(announcement), "event": {"title": event.title}, "unsubscribe_link": "#"}
    return Letter(announcement.id, announcement.kind, "reader@example.com", "Ada Lovelace", context)


def send(session: Session, actor: Actor, event_id: UUID, announcement_id: UUID, now: datetime) -> Mailing:
    """Let a draft go out; sending twice changes nothing. Raises `ConflictError` after it was called off."""
    event = find_event(session, actor, event_id, TeamRight.MANAGE)
    mailing = _find(session, event, announcement_id, locked=True)
    if mailing.is_cancelled:
        raise ConflictError("This announcement was cancelled: write a new one.", code="announcement-cancelled")
    if mailing.status is MailingStatus.DRAFT:
        mailing.status, mailing.due_at = MailingStatus.WAITING, now
        audit.record(session, actor, "announcement.send", mailing, old={"status": "draft"}, new={"status": "waiting"})
    return mailing


def cancel(session: Session, actor: Actor, event_id: UUID, announcement_id: UUID, now: datetime) -> Mailing:
    """Call an announcement off: mails that have not left stay here. Twice changes nothing.

    Raises `ConflictError` once every mail was written.
    """
    event = find_event(session, actor, event_id, TeamRight.MANAGE)
    mailing = _find(session, event, announcement_id, locked=True)
    if mailing.status is MailingStatus.SENT:
        raise ConflictError("It has gone out already.", code="announcement-sent")
    if not mailing.is_cancelled:
        old = mailing.status
        mailing.status, mailing.finished_at = MailingStatus.CANCELLED, now
        audit.record(session, actor, "announcement.cancel", mailing, old={"status": old}, new={"status": "cancelled"})
    return mailing


def _find(session: Session, event: Event, announcement_id: UUID, *, locked: bool = False) -> Mailing:
    query = select(Mailing).where(
        Mailing.id == announcement_id, Mailing.event_id == event.id, Mailing.kind == MailingKind.ANNOUNCEMENT
    )
    mailing = session.scalar(query.with_for_update() if locked else query)
    if mailing is None:
        raise NotFoundError(NOUN)
    set_committed_value(mailing, "event", event)
    return mailing


def _check_tiers(session: Session, event: Event, tier_ids: Sequence[UUID]) -> None:
    known = set(session.scalars(select(TicketTier.id).where(TicketTier.event_id == event.id)))
    for place, tier_id in enumerate(tier_ids):
        if tier_id not in known:
            raise InvalidError("The event has no such tier.", pointer=f"/audience/tier_ids/{place}")
