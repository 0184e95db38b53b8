"""What is held about a person: in which rows of which tables, what erasure leaves of them, and all of it as one file.

A table with a new personal column gets it into its `Holding` here; `tests/architecture/test_personal_data.py` fails
until it has, or says there why not. Erasing itself is in `erasure.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter
from sqlalchemy import ColumnElement, Select, Text, case, cast, delete, func, literal_column, select, update
from sqlalchemy.orm import Session

from domain import audit
from domain.audit import Actor
from domain.errors import NotFoundError
from domain.logins import find_user_by_email
from domain.models import (
    AccountToken,
    AuditLog,
    AuditPersonalValue,
    Base,
    CheckInScan,
    EmailNotification,
    IdempotencyKey,
    LedgerEntry,
    MailSuppression,
    Order,
    OrderItem,
    PaymentTransaction,
    Promoter,
    RefreshToken,
    TeamMember,
    Ticket,
    TicketTransfer,
    TimelineEntry,
    Unsubscription,
    User,
    Waitlist,
    WebhookEndpoint,
    WebhookEvent,
)
from domain.models.notifications import ERASED_ADDRESS
from domain.models.payments import SUBJECT
from domain.notifications import OPEN
from domain.redaction import without_secrets
from domain.rules.states import MailStatus

ERASED = "(erased)"
FAREWELL = "account_erased"
"""The mail that says that the account is gone: the one thing that needs the address a little longer."""
ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Person:
    """Whom it is about."""

    id: UUID
    email: str | None
    """By it is found what came there for nobody's account; None unless the address is theirs."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one table holds about a person."""

    model: type[Base]
    is_about: Callable[[Person], ColumnElement[bool]]
    left: Mapping[str, Any] | None = field(default_factory=dict)
    """What erasure writes into which column, the others stay; None where it deletes the rows."""
    unshown: frozenset[str] = frozenset()
    """Columns that an export leaves out, since it may travel: what opens a door."""
    shown: Callable[[Person], Mapping[str, ColumnElement[Any]]] = lambda _person: {}
    """Columns that an export shows otherwise than they stand: what is about somebody else."""

    @property
    def table(self) -> str:
        """The table's name."""
        return str(self.model.__tablename__)


def _own_orders(person: Person) -> Select[UUID]:
    return select(Order.id).where(Order.user_id == person.id)


def _is_mail_to(person: Person) -> ColumnElement[bool]:
    # An address may have passed on to another account, whose mails are not this person's.
    to_nobody = EmailNotification.user_id.is_(None)
    is_addressed = func.lower(EmailNotification.recipient) == func.lower(person.email)
    return (EmailNotification.user_id == person.id) | (to_nobody & is_addressed)


def _is_transfer_to(person: Person) -> ColumnElement[bool]:
    to_nobody = TicketTransfer.recipient_id.is_(None)
    is_addressed = func.lower(TicketTransfer.recipient_email) == func.lower(person.email)
    return (TicketTransfer.recipient_id == person.id) | (to_nobody & is_addressed)


def _own_acts(person: Person) -> Mapping[str, ColumnElement[Any]]:
    """Show from where the person acted, and not from where others did, who may be admins."""
    return {
        column.name: case((AuditLog.actor_id == person.id, column)) for column in (AuditLog.ip, AuditLog.user_agent)
    }


def _is_event_about(person: Person) -> ColumnElement[bool]:
    payments = select(PaymentTransaction.provider_transaction_id).where(
        PaymentTransaction.order_id.in_(_own_orders(person)), PaymentTransaction.provider_transaction_id.is_not(None)
    )
    mails = select(cast(EmailNotification.id, Text)).where(_is_mail_to(person))
    return literal_column(SUBJECT.text, Text).in_(payments.union(mails))


_WHERE_TO_LOOK: ColumnElement[Any] = literal_column(
    "jsonb_strip_nulls(jsonb_build_object("
    "'notification_id', payload -> 'notification_id', 'sg_message_id', payload -> 'sg_message_id', "
    "'timestamp', payload -> 'timestamp', 'data', jsonb_build_object('object', jsonb_build_object("
    "'object', payload #> '{data,object,object}', 'id', payload #> '{data,object,id}', "
    "'payment_intent', payload #> '{data,object,payment_intent}', "
    "'metadata', jsonb_build_object('refund_id', payload #> '{data,object,metadata,refund_id}')))))"
)
"""All that handling an event needs of its payload, so that one which is still to be handled can be."""

HOLDINGS = (
    Holding(
        User,
        lambda person: User.id == person.id,
        {
            "email": ERASED_ADDRESS,
            "password_hash": ERASED,
            "first_name": ERASED,
            "last_name": "",
            "phone": None,
            "last_login_at": None,
        },
    ),
    Holding(Promoter, lambda person: Promoter.user_id == person.id, {"description": None, "website": None}),
    Holding(
        WebhookEndpoint,
        lambda person: WebhookEndpoint.promoter_id.in_(select(Promoter.id).where(Promoter.user_id == person.id)),
        # Nothing goes there any more.
        {"url": ERASED, "deleted_at": func.coalesce(WebhookEndpoint.deleted_at, func.now())},
    ),
    Holding(TeamMember, lambda person: TeamMember.user_id == person.id, None),
    Holding(RefreshToken, lambda person: RefreshToken.user_id == person.id, None),
    Holding(AccountToken, lambda person: AccountToken.user_id == person.id, None),
    Holding(IdempotencyKey, lambda person: IdempotencyKey.user_id == person.id, None),
    Holding(
        Order,
        lambda person: Order.user_id == person.id,
        {
            "billing_name": None,
            "billing_email": None,
            "billing_address": None,
            "stripe_client_secret": None,
            "idempotency_key": None,
            "idempotency_fingerprint": None,
        },
    ),
    Holding(OrderItem, lambda person: OrderItem.order_id.in_(_own_orders(person)), {"attendees": None}),
    Holding(TimelineEntry, lambda person: TimelineEntry.order_id.in_(_own_orders(person))),
    Holding(
        Ticket,
        lambda person: Ticket.holder_id == person.id,
        {"attendee_name": ERASED, "attendee_email": ERASED_ADDRESS},
        frozenset({"code", "qr_payload", "qr_image"}),
    ),
    Holding(
        CheckInScan,
        lambda person: CheckInScan.ticket_id.in_(select(Ticket.id).where(Ticket.holder_id == person.id)),
    ),
    # Who sent it does not stand in the row by name.
    Holding(
        TicketTransfer,
        _is_transfer_to,
        {"recipient_email": ERASED_ADDRESS, "recipient_name": None},
    ),
    Holding(Waitlist, lambda person: Waitlist.user_id == person.id),
    Holding(Unsubscription, lambda person: Unsubscription.user_id == person.id, None),
    Holding(MailSuppression, lambda person: MailSuppression.address == func.lower(person.email), None),
    Holding(
        PaymentTransaction,
        lambda person: PaymentTransaction.order_id.in_(_own_orders(person)),
        {"next_action": None},
    ),
    Holding(LedgerEntry, lambda person: LedgerEntry.order_id.in_(_own_orders(person))),
    # Before the mails, by which it is found.
    Holding(WebhookEvent, _is_event_about, {"payload": _WHERE_TO_LOOK}),
    Holding(
        EmailNotification,
        lambda person: (
            _is_mail_to(person) & ((EmailNotification.template != FAREWELL) | EmailNotification.status.not_in(OPEN))
        ),
        {
            "subject": None,
            "recipient": ERASED_ADDRESS,
            "recipient_name": ERASED,
            "context": {},
            "error": None,
            "status": case((EmailNotification.status.in_(OPEN), MailStatus.FAILED), else_=EmailNotification.status),
            "next_attempt_at": None,
        },
    ),
    Holding(
        AuditLog,
        lambda person: (AuditLog.actor_id == person.id) | (AuditLog.entity_id == person.id),
        shown=_own_acts,
    ),
    Holding(
        AuditPersonalValue,
        lambda person: AuditPersonalValue.subject_id == person.id,
        {"old_value": None, "new_value": None},
    ),
)


def person_of(session: Session, user: User, address: str) -> Person:
    """Return whom an account stands for, with an address it has or had, if that is theirs.

    It is if they have proven it, and nobody else has an account with it by now, proven or not.
    """
    is_theirs = (
        user.email_verified and address != ERASED_ADDRESS and find_user_by_email(session, address) in {None, user}
    )
    return Person(user.id, address if is_theirs else None)


def redact(session: Session, person: Person) -> None:
    """Take a person out of every row that is about them; what was loaded of these rows is stale afterwards."""
    for holding in HOLDINGS:
        whose = holding.is_about(person)
        if holding.left is None:
            session.execute(delete(holding.model).where(whose).execution_options(synchronize_session=False))
        elif holding.left:
            statement = update(holding.model).where(whose).values(**holding.left)
            session.execute(statement.execution_options(synchronize_session=False))
    session.expire_all()


_ROW = TypeAdapter(dict[str, Any], config=ConfigDict(ser_json_bytes="base64"))


def export(session: Session, actor: Actor, user_id: UUID, file: IO[bytes], now: datetime) -> None:
    """Write all that is held about a person into a file: one JSON object, with their rows by table.

    Rows pass through one by one, so memory stays flat; secrets are hidden. Raises `NotFoundError`.
    """
    user = session.get(User, user_id)
    if user is None:
        raise NotFoundError("user")
    person = person_of(session, user, user.email)
    audit.record(session, actor, "user.export", user)
    file.write(f'{{"user_id":"{user.id}","exported_at":"{now.isoformat()}","tables":{{'.encode())
    for place, holding in enumerate(HOLDINGS):
        file.write(f'{"," if place else ""}"{holding.table}":['.encode())
        _write_rows(session, holding, person, file)
        file.write(b"]")
    file.write(b"}}")


def _write_rows(session: Session, holding: Holding, person: Person, file: IO[bytes]) -> None:
    shown = {**holding.model.__table__.columns, **holding.shown(person)}
    columns = [column.label(name) for name, column in shown.items() if name not in holding.unshown]
    rows = session.execute(
        select(*columns).where(holding.is_about(person)), execution_options={"yield_per": ROWS_AT_ONCE}
    )
    for place, row in enumerate(rows.mappings()):
        file.write(b"," if place else b"")
        file.write(_ROW.dump_json(without_secrets(dict(row))))
