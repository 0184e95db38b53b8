"""The mail outbox: writing mails into it, and sending what is due, once as far as can be known.

SendGrid has no idempotency key, so a mail whose outcome is unknown waits for a delivery event before its one retry.
What a mail says is in `correspondence.py`, what became of it later in `deliveries.py`.
"""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from domain import suppressions
from domain.correspondence import Links, Unsent, compose
from domain.errors import RetryableVendorError, UnknownOutcomeError, VendorError
from domain.messages import Message, ReceiveMailEvent, SendMail, announce
from domain.models import EmailNotification, Order, TimelineEntry, WebhookEvent
from domain.ports import Letter, Mailer, Receipt
from domain.rules.backoff import backoff
from domain.rules.states import MailStatus, OrderStage

ATTEMPTS = 12
"""With the waits below, about two and a half hours of trying."""
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=1)
DOUBT = timedelta(minutes=10)
"""How long an unknown outcome waits for its delivery event; SendGrid reports most within seconds."""
LEASE = timedelta(seconds=90)
"""How long a mail may be `sending`: longer than a task may run (task_time_limit)."""
STALLED_LIMIT = 500

OPEN = (MailStatus.PENDING, MailStatus.SENDING, MailStatus.UNKNOWN)


def queue_mail(
    session: Session,
    *,
    template: str,
    purpose: str,
    recipient: str,
    recipient_name: str,
    user_id: UUID | None = None,
    order_id: UUID | None = None,
    event_id: UUID | None = None,
    context: Mapping[str, Any] | None = None,
) -> EmailNotification:
    """Write a mail into the outbox; a purpose that has its mail already keeps that one, which is returned.

    A mail about an order is about its event, too.
    """
    of_order = select(Order.event_id).where(Order.id == order_id).scalar_subquery()
    values = {
        "template": template,
        "purpose": purpose,
        "recipient": recipient,
        "recipient_name": recipient_name,
        "user_id": user_id,
        "order_id": order_id,
        "event_id": of_order if event_id is None and order_id is not None else event_id,
        "context": dict(context or {}),
    }
    mail: EmailNotification | None = session.scalar(
        insert(EmailNotification)
        .values(values)
        .on_conflict_do_nothing(index_elements=[EmailNotification.purpose])
        .returning(EmailNotification)
    )
    if mail is None:
        return session.scalars(select(EmailNotification).where(EmailNotification.purpose == purpose)).one()
    announce(session, SendMail(mail.id))
    return mail


def send_mail(
    sessions: sessionmaker[Session], mailer: Mailer, notification_id: UUID, now: datetime, links: Links
) -> None:
    """Send a mail if it is due: claim it, call the mailer outside of any transaction, record what became of it."""
    with sessions.begin() as session:
        letter = _claim(session, notification_id, now, links)
    if letter is None:
        return
    try:
        receipt = mailer.send(letter)
    except VendorError as error:
        with sessions.begin() as session:
            _record_failure(session, notification_id, error, now)
    else:
        with sessions.begin() as session:
            _record_receipt(session, notification_id, receipt, now)


def _claim(session: Session, notification_id: UUID, now: datetime, links: Links) -> Letter | None:
    """Take a due mail for sending. While it is sending, `error` says that an earlier outcome is unknown."""
    mail = session.scalar(
        select(EmailNotification).where(EmailNotification.id == notification_id).with_for_update(skip_locked=True)
    )
    if mail is None or mail.status not in OPEN or (mail.next_attempt_at is not None and mail.next_attempt_at > now):
        return None
    if mail.status is MailStatus.SENDING:
        _doubt(mail, "whoever sent it did not live to say what became of it", now)
        return None
    if obstacle := suppressions.find_obstacle(session, mail):
        end(mail, MailStatus.SUPPRESSED, obstacle)
        return None
    letter = compose(session, mail, links)
    if letter is Unsent.MOOT:
        end(mail, MailStatus.FAILED, letter.value)
    if isinstance(letter, Unsent):
        return None
    if mail.status is MailStatus.PENDING:
        mail.error = None
    mail.status = MailStatus.SENDING
    mail.attempts += 1
    mail.next_attempt_at = now + LEASE
    return letter


def _record_receipt(session: Session, notification_id: UUID, receipt: Receipt, now: datetime) -> None:
    mail = _lock(session, notification_id)
    mail.subject = receipt.subject
    mail.provider_message_id = receipt.message_id or None
    # A delivery event may have been faster.
    if mail.status is MailStatus.SENDING:
        mark_sent(session, mail, now)
        end(mail, MailStatus.SENT)


def _record_failure(session: Session, notification_id: UUID, error: VendorError, now: datetime) -> None:
    mail = _lock(session, notification_id)
    if mail.status is not MailStatus.SENDING:
        return
    match error:
        case UnknownOutcomeError():
            _doubt(mail, error.message, now)
        case RetryableVendorError() if mail.attempts < ATTEMPTS:
            _postpone(mail, error, now)
        case _:
            end(mail, MailStatus.FAILED, error.message)


def _doubt(mail: EmailNotification, why: str, now: datetime) -> None:
    """Leave the mail to its delivery event for a while, and to one retry after that; a second doubt ends it."""
    if mail.error is not None:
        end(mail, MailStatus.FAILED, f"unknown twice: {why}")
        return
    mail.status = MailStatus.UNKNOWN
    mail.error = why
    mail.next_attempt_at = now + DOUBT


def _postpone(mail: EmailNotification, error: RetryableVendorError, now: datetime) -> None:
    """Let the mail wait for its next try; one that was in doubt before stays so."""
    wait = backoff(mail.attempts, first=FIRST_WAIT, longest=LONGEST_WAIT, jitter=random.random())  # noqa: S311
    asked = timedelta(seconds=min(error.retry_after or 0, LONGEST_WAIT.total_seconds()))
    mail.status = MailStatus.PENDING if mail.error is None else MailStatus.UNKNOWN
    mail.error = error.message
    mail.next_attempt_at = now + max(wait, asked)


def mark_sent(session: Session, mail: EmailNotification, at: datetime) -> None:
    """Note when a mail was accepted by the provider, by whoever is the first to know."""
    if mail.sent_at is None:
        mail.sent_at = at
        tell(session, mail, "mail_sent")


def end(mail: EmailNotification, status: MailStatus, error: str | None = None) -> None:
    """Bring a mail to a status in which nothing more is to be sent."""
    mail.status = status
    mail.error = error
    mail.next_attempt_at = None


def _lock(session: Session, notification_id: UUID) -> EmailNotification:
    return session.get_one(EmailNotification, notification_id, with_for_update=True)


def tell(session: Session, mail: EmailNotification, kind: str) -> None:
    """Append to the order's timeline; touching the order gives it a new version, and so a new ETag."""
    # What goes to all of an event is no step of the order.
    if mail.order_id is not None and mail.mailing_id is None:
        # The order first: an entry's foreign key shares its row, and two who share it cannot both go on to change it.
        session.execute(update(Order).where(Order.id == mail.order_id).values(updated_at=func.now()))
        session.add(TimelineEntry(order_id=mail.order_id, kind=kind, data={"template": mail.template}))


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages that should be sent again: mails due since `before`, and delivery events not handled."""
    due = func.coalesce(EmailNotification.next_attempt_at, EmailNotification.created_at)
    # A confirmation has nothing to enclose yet; the last picture rings for it.
    is_early = and_(EmailNotification.template == "order_confirmed", Order.stage == OrderStage.ISSUING)
    mails = session.scalars(
        select(EmailNotification.id)
        .outerjoin(Order, Order.id == EmailNotification.order_id)
        .where(EmailNotification.status.in_(OPEN), due < before, or_(Order.id.is_(None), ~is_early))
        .order_by(due)
        .limit(STALLED_LIMIT)
    )
    events = session.scalars(
        select(WebhookEvent.id)
        .where(WebhookEvent.provider == "sendgrid", WebhookEvent.processed_at.is_(None))
        .where(WebhookEvent.received_at < before)
        .order_by(WebhookEvent.received_at)
        .limit(STALLED_LIMIT)
    )
    return [*map(SendMail, mails), *map(ReceiveMailEvent, events)]
