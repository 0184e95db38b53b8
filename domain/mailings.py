"""Mail to many: in rounds of the sweep, a few hundred mails each, with a cursor over an event's tickets in the row.

Nobody waits for it and no request writes thousands of rows. A round that is cut off is repeated, and a person gets one
mail of a mailing however often their tickets are met. What the letters say is in `mailing_letters.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload, sessionmaker

from domain.messages import SendMail, announce
from domain.models import EmailNotification, Event, Mailing, Order, Ticket, Unsubscription, User
from domain.models.catalog import LONGEST_REMINDER_HOURS
from domain.one_by_one import one_by_one
from domain.rules.states import EventStatus, MailingKind, MailingStatus

OPEN = (MailingStatus.WAITING, MailingStatus.SENDING)
SERVED_TOGETHER = 20
"""So many mailings share a round; the others have the next ones."""
TICKETS_PER_MAIL = 4
"""So many tickets are read for each mail that may be written: most people hold a few."""
REMINDERS_BEGUN = 200


def begin_reminders(session: Session, now: datetime) -> int:
    """Begin the reminders of the events that have come near; return how many.

    An event reminds again only if it was postponed by more than the time before which it reminds.
    """
    lead = func.make_interval(0, 0, 0, 0, Event.reminder_hours)
    is_told = exists().where(
        Mailing.event_id == Event.id,
        Mailing.kind == MailingKind.REMINDER,
        Mailing.event_starts_at > Event.starts_at - lead,
    )
    near = session.execute(
        select(Event.id, Event.starts_at)
        .where(Event.status == EventStatus.PUBLISHED, Event.reminder_hours.is_not(None), Event.deleted_at.is_(None))
        .where(Event.starts_at > now, Event.starts_at <= now + timedelta(hours=LONGEST_REMINDER_HOURS))
        .where(Event.starts_at - lead <= now, ~is_told)
        .order_by(Event.starts_at)
        .limit(REMINDERS_BEGUN)
    ).all()
    if not near:
        return 0
    rows = [
        {"event_id": event_id, "kind": MailingKind.REMINDER, "event_starts_at": starts_at, "due_at": now}
        for event_id, starts_at in near
    ]
    begun = session.scalars(insert(Mailing).on_conflict_do_nothing().returning(Mailing.id), rows)
    return len(begun.all())


def carry_on(sessions: sessionmaker[Session], now: datetime, budget: int) -> int:
    """Write the next mails of what is to go out, about `budget` of them in all; return how many mailings moved."""
    with sessions() as session:
        due = session.scalars(
            select(Mailing.id)
            .where(Mailing.status.in_(OPEN), Mailing.due_at <= now)
            .order_by(Mailing.served_at.nulls_first(), Mailing.due_at)
            .limit(SERVED_TOGETHER)
        ).all()
    share = max(1, budget // max(1, len(due)))
    return one_by_one(sessions, due, lambda session, mailing_id: _serve(session, mailing_id, share, now))


def _serve(session: Session, mailing_id: UUID, share: int, now: datetime) -> bool:
    """Write one round of a mailing, unless another process does, or somebody has cancelled it meanwhile."""
    mailing = session.scalar(
        select(Mailing)
        .where(Mailing.id == mailing_id, Mailing.status.in_(OPEN))
        .options(joinedload(Mailing.event))
        .with_for_update(of=Mailing, skip_locked=True)
    )
    if mailing is None:
        return False
    mailing.served_at = now
    if is_pointless(mailing, now):
        _finish(mailing, MailingStatus.CANCELLED, now)
        return True
    if mailing.status is MailingStatus.WAITING:
        mailing.status = MailingStatus.SENDING
        mailing.people = count_people(session, mailing)
    page = session.execute(next_tickets(mailing, share * TICKETS_PER_MAIL)).all()
    people, read = _readers(mailing, page, share)
    mailing.written += _write(session, mailing, people)
    if read:
        mailing.last_ticket_id = page[read - 1].id
    if read == len(page) < share * TICKETS_PER_MAIL:
        _finish(mailing, MailingStatus.SENT, now)
    return True


def is_pointless(mailing: Mailing, now: datetime) -> bool:
    """Tell whether nobody needs to hear of it any more; what a promoter wrote is theirs to judge."""
    event = mailing.event
    if mailing.kind is MailingKind.ANNOUNCEMENT:
        return event.is_deleted
    ends = event.starts_at if mailing.kind is MailingKind.REMINDER else event.ends_at
    return event.is_deleted or event.is_cancelled or ends <= now


def count_people(session: Session, mailing: Mailing) -> int:
    """Count whom a mailing is for."""
    tickets = _audience(mailing)
    holders = select(Ticket.holder_id).where(*tickets)
    buyers = select(Order.user_id).join(Ticket, Ticket.order_id == Order.id).where(*tickets)
    people = (holders.union(buyers) if _tells_buyers(mailing) else holders.distinct()).subquery()
    return session.scalar(select(func.count()).select_from(people)) or 0


def _tells_buyers(mailing: Mailing) -> bool:
    # Whoever handed all tickets on has still paid, and may want a refund.
    return mailing.kind is MailingKind.EVENT_CHANGED


def _audience(mailing: Mailing) -> list[ColumnElement[bool]]:
    """Return the conditions of the tickets whose people are written to: those issued before the mailing was due."""
    conditions: list[ColumnElement[bool]] = [
        Ticket.event_id == mailing.event_id,
        Ticket.status.in_(mailing.ticket_statuses),
    ]
    if mailing.tier_ids:
        conditions.append(Ticket.tier_id.in_(mailing.tier_ids))
    if mailing.due_at is not None:
        conditions.append(Ticket.created_at < mailing.due_at)
    return conditions


def next_tickets(mailing: Mailing, limit: int) -> Select[UUID, UUID, UUID, UUID]:
    """Ask for a mailing's next tickets: each with its holder, its order and that order's buyer."""
    query = (
        select(Ticket.id, Ticket.holder_id, Ticket.order_id, Order.user_id.label("buyer_id"))
        .join(Order, Order.id == Ticket.order_id)
        .where(*_audience(mailing))
        .order_by(Ticket.id)
        .limit(limit)
    )
    return query if mailing.last_ticket_id is None else query.where(Ticket.id > mailing.last_ticket_id)


def _readers(
    mailing: Mailing, page: Sequence[Row[UUID, UUID, UUID, UUID]], share: int
) -> tuple[dict[UUID, UUID | None], int]:
    """Return the people of the first tickets, each with an order of their own if any, and how many tickets it took."""
    people: dict[UUID, UUID | None] = {}
    for read, ticket in enumerate(page):
        if len(people) >= share:
            return people, read
        for person in {ticket.holder_id, ticket.buyer_id} if _tells_buyers(mailing) else {ticket.holder_id}:
            people[person] = people.get(person) or (ticket.order_id if person == ticket.buyer_id else None)
    return people, len(page)


def _write(session: Session, mailing: Mailing, people: Mapping[UUID, UUID | None]) -> int:
    """Put the mails into the outbox, one per person and mailing; return how many are new."""
    query = select(User).where(User.id.in_(people), User.is_active, User.deleted_at.is_(None))
    if mailing.kind is MailingKind.ANNOUNCEMENT:
        promoter_id = mailing.event.promoter_id
        query = query.where(
            ~exists().where(Unsubscription.user_id == User.id, Unsubscription.promoter_id == promoter_id)
        )
    rows = [
        {
            "template": mailing.kind.value,
            "purpose": f"{mailing.kind}:{mailing.id}:{user.id}",
            "recipient": user.email,
            "recipient_name": user.full_name,
            "user_id": user.id,
            "order_id": people[user.id],
            "event_id": mailing.event_id,
            "mailing_id": mailing.id,
        }
        for user in session.scalars(query)
    ]
    if not rows:
        return 0
    statement = insert(EmailNotification).on_conflict_do_nothing(index_elements=[EmailNotification.purpose])
    written = session.scalars(statement.returning(EmailNotification.id), rows).all()
    for mail_id in written:
        announce(session, SendMail(mail_id))
    return len(written)


def _finish(mailing: Mailing, status: MailingStatus, now: datetime) -> None:
    mailing.status, mailing.finished_at = status, now
