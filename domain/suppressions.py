"""Addresses that get less mail, by our own list and not by SendGrid's (docs/adr/0022).

After a hard bounce only what their owner asks for goes there, after a complaint all but what nobody asked for.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from domain import audit
from domain.audit import Actor
from domain.errors import NotFoundError
from domain.logins import find_user_by_email
from domain.models import EmailNotification, MailSuppression
from domain.models.notifications import ERASED_ADDRESS
from domain.rules.states import SuppressionReason

ASKED_FOR = frozenset({"verify_email", "password_reset"})
"""Somebody waits for these now; they are few, and the only way to prove that an address works again."""
UNASKED = frozenset({"announcement", "reminder", "transfer_offered"})
"""Nobody asked for these; all others are about what somebody bought or holds, and they need them."""


def find_obstacle(session: Session, mail: EmailNotification) -> str | None:
    """Say why a mail must not go to its address, if so."""
    if mail.recipient == ERASED_ADDRESS:
        return "Its reader was erased."
    if mail.template in ASKED_FOR:
        return None
    row = session.scalar(select(MailSuppression).where(MailSuppression.address == func.lower(mail.recipient)))
    if row is None or (row.reason is SuppressionReason.COMPLAINED and mail.template not in UNASKED):
        return None
    return f"The address is suppressed since {row.since.isoformat(timespec='seconds')}: {row.detail or row.reason}"


def suppress(session: Session, address: str, reason: SuppressionReason, detail: str | None, since: datetime) -> None:
    """Note that an address bounced or complained; what stops more stays."""
    statement = insert(MailSuppression).values(
        id=uuid7(), address=func.lower(address), reason=reason, detail=detail, since=since
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[MailSuppression.address],
            set_={"reason": statement.excluded.reason, "detail": statement.excluded.detail, "since": since},
            where=(MailSuppression.reason == SuppressionReason.COMPLAINED)
            & (statement.excluded.reason != SuppressionReason.COMPLAINED),
        )
    )


def forget_bounces(session: Session, address: str) -> None:
    """Let mail go to an address again that was proven to work; a complaint stands."""
    session.execute(
        delete(MailSuppression).where(
            MailSuppression.address == func.lower(address), MailSuppression.reason != SuppressionReason.COMPLAINED
        )
    )


def list_suppressions(session: Session, *, before: UUID | None, limit: int) -> Sequence[MailSuppression]:
    """Return the newest suppressions, those older than the one `before`, at most `limit` + 1 of them."""
    query = select(MailSuppression).order_by(MailSuppression.id.desc()).limit(limit + 1)
    return session.scalars(query if before is None else query.where(MailSuppression.id < before)).all()


def lift(session: Session, actor: Actor, suppression_id: UUID) -> None:
    """Let mail go to an address again, as an admin; raise `NotFoundError`."""
    row = session.get(MailSuppression, suppression_id, with_for_update=True)
    if row is None:
        raise NotFoundError("suppression")
    owner = find_user_by_email(session, row.address)
    audit.record(
        session,
        actor,
        "mail_suppression.lift",
        row,
        old={"reason": row.reason},
        personal={"address": (row.address, None)} if owner else None,
        subject_id=owner.id if owner else None,
    )
    session.delete(row)
