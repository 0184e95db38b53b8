"""What became of mails after they were sent: the provider's delivery events, which come late, doubled and in any order.

The inbox has verified them and stored each once; sending is in `notifications.py`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from domain import suppressions
from domain.models import EmailNotification, WebhookEvent
from domain.notifications import end, mark_sent, tell
from domain.rules.states import MailStatus, SuppressionReason


@dataclass(frozen=True, slots=True)
class _News:
    """What an event says (twilio.com/docs/sendgrid/for-developers/tracking-events/event)."""

    type: str
    at: datetime
    notification_id: UUID | None
    message_id: str | None
    reason: str | None
    refuses: SuppressionReason | None
    """Why the address is to get less mail from now on, or none."""


_MEANING = {
    # Both prove that SendGrid accepted the mail.
    "processed": MailStatus.SENT,
    "deferred": MailStatus.SENT,
    "delivered": MailStatus.DELIVERED,
    "open": MailStatus.DELIVERED,
    "click": MailStatus.DELIVERED,
    "spamreport": MailStatus.DELIVERED,
    "bounce": MailStatus.BOUNCED,
    "dropped": MailStatus.BOUNCED,
}
_DROPPED_FOR = {
    "Bounced Address": SuppressionReason.BOUNCED,
    "Invalid": SuppressionReason.INVALID,
    "Spam Reporting Address": SuppressionReason.COMPLAINED,
}
"""Reasons of `dropped` that are about the address, and not about our mail or account."""
_RANK = {MailStatus.SENT: 1, MailStatus.DELIVERED: 2, MailStatus.BOUNCED: 3}


def receive_event(sessions: sessionmaker[Session], event_id: UUID, now: datetime) -> None:
    """Apply a delivery event from the inbox, once."""
    with sessions.begin() as session:
        event = session.scalar(
            select(WebhookEvent).where(WebhookEvent.id == event_id).with_for_update(skip_locked=True)
        )
        if event is None or event.processed_at is not None:
            return
        event.processed_at = now
        event.attempts += 1
        news = _read(event)
        mail = _find(session, news)
        if mail is None:
            event.error = "it is about no mail of ours"
        elif meaning := _MEANING.get(news.type):
            _apply(session, mail, news, meaning)


def _read(event: WebhookEvent) -> _News:
    payload = event.payload
    message_id = payload.get("sg_message_id")
    reason = payload.get("reason")
    return _News(
        type=event.type,
        at=_time(payload.get("timestamp")) or event.received_at,
        notification_id=_uuid(payload.get("notification_id")),
        # `sg_message_id` is the id of the answer to our call, a dot, and the route that the mail took.
        message_id=message_id.partition(".")[0] if isinstance(message_id, str) else None,
        reason=str(reason)[:500] if reason else None,
        refuses=_refusal(event.type, payload.get("type"), reason),
    )


def _refusal(kind: str, subtype: object, reason: object) -> SuppressionReason | None:
    """Read what an event says about the address; a block, SendGrid's word for a refusal that may pass, says nothing."""
    match kind:
        case "bounce":
            return None if subtype == "blocked" else SuppressionReason.BOUNCED
        case "dropped":
            return _DROPPED_FOR.get(str(reason))
        case "spamreport":
            return SuppressionReason.COMPLAINED
    return None


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int) else None
    except (OverflowError, ValueError, OSError):
        return None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None


def _find(session: Session, news: _News) -> EmailNotification | None:
    """Find and lock the mail by our own reference, which came back with it, else by the provider's."""
    query = select(EmailNotification).with_for_update()
    if news.notification_id is not None:
        return session.scalar(query.where(EmailNotification.id == news.notification_id))
    if news.message_id:
        return session.scalars(query.where(EmailNotification.provider_message_id == news.message_id)).first()
    return None


def _apply(session: Session, mail: EmailNotification, news: _News, meaning: MailStatus) -> None:
    """Note what happened and when; the status only moves forward."""
    mark_sent(session, mail, news.at)
    if news.type in {"open", "click"}:
        mail.opened_at = mail.opened_at or news.at
    if news.type == "click":
        mail.clicked_at = mail.clicked_at or news.at
    if meaning is MailStatus.DELIVERED and mail.delivered_at is None:
        mail.delivered_at = news.at
        tell(session, mail, "mail_delivered")
    if meaning is MailStatus.BOUNCED:
        mail.bounced_at = mail.bounced_at or news.at
    if news.refuses is not None:
        suppressions.suppress(session, mail.recipient, news.refuses, news.reason, news.at)
    if _RANK[meaning] > _RANK.get(mail.status, 0):
        end(mail, meaning, news.reason if meaning is MailStatus.BOUNCED else None)
