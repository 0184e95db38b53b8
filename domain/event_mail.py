"""What became of the mails about an event, for those who sell it."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from domain.audit import Actor
from domain.models import EmailNotification, Order
from domain.ownership import find_event
from domain.rules.states import MailStatus, TeamRight

Mail = EmailNotification
LOST = (MailStatus.BOUNCED, MailStatus.SUPPRESSED)


def count_mails(session: Session, actor: Actor, event_id: UUID) -> dict[str, dict[MailStatus, int]]:
    """Return how many mails of each template stand how; raise what `ownership.find_event` raises."""
    find_event(session, actor, event_id, TeamRight.SELL)
    counted = session.execute(
        select(Mail.template, Mail.status, func.count())
        .where(Mail.event_id == event_id)
        .group_by(Mail.template, Mail.status)
        .order_by(Mail.template, Mail.status)
    )
    counts: dict[str, dict[MailStatus, int]] = {}
    for template, status, count in counted:
        counts.setdefault(template, {})[status] = count
    return counts


def list_undeliverable(
    session: Session, actor: Actor, event_id: UUID, *, after: str | None, limit: int
) -> Sequence[Row[EmailNotification, str]]:
    """Return the addresses that mail about the event did not reach, each with its first mail and its order's number.

    They are in alphabetical order, those behind the address `after`, at most `limit` + 1 of them. Raises what
    `ownership.find_event` raises.
    """
    find_event(session, actor, event_id, TeamRight.SELL)
    query = (
        select(Mail, Order.number)
        .outerjoin(Order, Order.id == Mail.order_id)
        .where(Mail.event_id == event_id, Mail.status.in_(LOST))
        .ext(distinct_on(Mail.recipient))
        .order_by(Mail.recipient, Mail.id)
        .limit(limit + 1)
    )
    return session.execute(query if after is None else query.where(Mail.recipient > after)).all()
