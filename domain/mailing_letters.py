"""What the letters of a mailing say beside the event and the order: what has changed, the announcement's words."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session, joinedload

from domain.models import EmailNotification, Event, Mailing, Unsubscription
from domain.rules.states import MailingKind
from domain.venues import ADDRESS, address_of


def find_mailing(session: Session, mailing_id: UUID) -> Mailing:
    """Return a mailing with its event and the event's promoter."""
    return session.get_one(Mailing, mailing_id, options=[joinedload(Mailing.event).joinedload(Event.promoter)])


def unsubscribe_headers(link: str | None) -> dict[str, str]:
    """Return the headers by which a mail program unsubscribes with one click, by POST (RFC 8058), where one may."""
    if link is None:
        return {}
    return {"List-Unsubscribe": f"<{link}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def is_wanted(session: Session, mailing: Mailing, mail: EmailNotification) -> bool:
    """Tell whether a mailing's mail is still to be sent: somebody may have called it off, or its reader left."""
    event = mailing.event
    if mailing.is_cancelled or event.is_deleted:
        return False
    if mailing.kind is not MailingKind.ANNOUNCEMENT:
        return not event.is_cancelled
    return mail.user_id is None or session.get(Unsubscription, (mail.user_id, event.promoter_id)) is None


def facts_of(mailing: Mailing) -> dict[str, Any]:
    """Return what the template of a mailing needs beside the event."""
    match mailing.kind:
        case MailingKind.ANNOUNCEMENT:
            promoter = mailing.event.promoter.display_name
            return {"headline": mailing.subject, "body": mailing.body, "promoter": promoter}
        case MailingKind.EVENT_CHANGED:
            return _about_changes(mailing)
        case MailingKind.REMINDER:
            return {"doors_at": mailing.event.doors_at}


def _about_changes(mailing: Mailing) -> dict[str, Any]:
    event, changes = mailing.event, mailing.changes
    rows = [(name, *changes[name]) for name in ("title", "starts_at", "ends_at", "venue_name") if name in changes]
    sides = [{name: pair[side] for name, pair in changes.items() if name in ADDRESS} for side in (0, 1)]
    if any(sides):
        rows.append(("address", *(address_of(event, **side) for side in sides)))
    starts = [datetime.fromisoformat(value) for value in changes.get("starts_at", ())]
    return {
        "changes": [{"what": what, "old": old, "new": new} for what, old, new in rows],
        "is_postponed": starts == sorted(starts) and bool(starts),
        "refund_until": event.refund_granted_until,
    }
