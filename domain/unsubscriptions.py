"""Who wants no announcements of a promoter. Mails about an order come all the same."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from domain import audit
from domain.audit import Actor
from domain.errors import NotFoundError
from domain.models import EmailNotification, Event, Promoter, Unsubscription, User


def find_sender(session: Session, mail_id: UUID) -> Promoter:
    """Return whose announcement a mail was; raise `NotFoundError` if it was none."""
    promoter = session.scalar(
        select(Promoter)
        .join(Event, Event.promoter_id == Promoter.id)
        .join(EmailNotification, EmailNotification.event_id == Event.id)
        .where(EmailNotification.id == mail_id, EmailNotification.mailing_id.is_not(None))
    )
    if promoter is None:
        raise NotFoundError("page")
    return promoter


def is_unsubscribed(session: Session, person: Actor, promoter: Promoter) -> bool:
    """Tell whether a person wants no announcements of a promoter."""
    return session.get(Unsubscription, (person.user_id, promoter.id)) is not None


def unsubscribe(session: Session, person: Actor, promoter: Promoter) -> None:
    """Write no more announcements of this promoter to a person; twice changes nothing."""
    user = session.get_one(User, person.user_id)
    row = {"user_id": user.id, "promoter_id": promoter.id}
    statement = insert(Unsubscription).values(row).on_conflict_do_nothing().returning(Unsubscription.user_id)
    if session.scalar(statement):
        audit.record(session, person, "user.unsubscribe", user, new={"promoter_id": str(promoter.id)})


def resubscribe(session: Session, person: Actor, promoter: Promoter) -> None:
    """Write the promoter's announcements to a person again; twice changes nothing."""
    user = session.get_one(User, person.user_id)
    row = session.get(Unsubscription, (user.id, promoter.id))
    if row is not None:
        session.delete(row)
        audit.record(session, person, "user.resubscribe", user, old={"promoter_id": str(promoter.id)})
