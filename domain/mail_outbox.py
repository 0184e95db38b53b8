"""The mail outbox as an operator meets it: looking for mails, and having one sent again.

Writing and sending mails is in `notifications.py`, what became of them in `deliveries.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from domain import audit
from domain.audit import Actor
from domain.errors import ConflictError, NotFoundError
from domain.messages import SendMail, announce
from domain.models import EmailNotification
from domain.models.notifications import ERASED_ADDRESS
from domain.rules.states import MailStatus

REPLAYABLE = frozenset({MailStatus.FAILED, MailStatus.BOUNCED, MailStatus.UNKNOWN})
"""What did not arrive, as far as can be known; the others are under way, or have arrived."""


@dataclass(frozen=True, slots=True)
class OutboxSearch:
    """What to find in the outbox; what is None does not narrow it."""

    status: MailStatus | None = None
    template: str | None = None
    recipient: str | None = None
    order_id: UUID | None = None


def search(session: Session, wanted: OutboxSearch, *, before: UUID | None, limit: int) -> Sequence[EmailNotification]:
    """Return the newest mails that match, those older than the mail `before`, at most `limit` + 1 of them."""
    query = select(EmailNotification).order_by(EmailNotification.id.desc()).limit(limit + 1)
    for column in (EmailNotification.status, EmailNotification.template, EmailNotification.order_id):
        if (value := getattr(wanted, column.key)) is not None:
            query = query.where(column == value)
    if wanted.recipient is not None:
        query = query.where(func.lower(EmailNotification.recipient) == func.lower(wanted.recipient))
    return session.scalars(query if before is None else query.where(EmailNotification.id < before)).all()


def find(session: Session, mail_id: UUID) -> EmailNotification:
    """Return a mail; raise `NotFoundError`."""
    mail = session.get(EmailNotification, mail_id)
    if mail is None:
        raise NotFoundError("mail in the outbox")
    return mail


def replay(session: Session, actor: Actor, mail_id: UUID) -> EmailNotification:
    """Have a mail that did not arrive sent again, with all its tries; the audit log keeps what became of the first.

    Raises `NotFoundError`, or `ConflictError` (`mail-not-replayable`) for one that is under way or has arrived, or
    whose reader was erased.
    """
    mail = session.get(EmailNotification, mail_id, with_for_update=True)
    if mail is None:
        raise NotFoundError("mail in the outbox")
    if mail.status not in REPLAYABLE:
        raise ConflictError(f"This mail is {mail.status}: sent again it may come twice.", code="mail-not-replayable")
    if mail.recipient == ERASED_ADDRESS:
        raise ConflictError("The reader of this mail was erased.", code="mail-not-replayable")
    old = {"status": mail.status, "attempts": mail.attempts, "provider_message_id": mail.provider_message_id}
    mail.status, mail.attempts, mail.error = MailStatus.PENDING, 0, None
    mail.next_attempt_at = mail.provider_message_id = mail.sent_at = None
    mail.delivered_at = mail.opened_at = mail.clicked_at = mail.bounced_at = None
    audit.record(session, actor, "mail.replay", mail, old=old, new={"status": mail.status})
    announce(session, SendMail(mail.id))
    return mail
