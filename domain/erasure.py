"""Forgetting a person, at their own request or an admin's: the account ends, the books stay, nobody is in them.

What is held about a person, and what is left of it, is in `personal_data.py`.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Exists, exists, select
from sqlalchemy.orm import Session, sessionmaker

from domain import audit, waitlist
from domain.accounts import find_user
from domain.audit import Actor
from domain.errors import ConflictError, NotFoundError, UnauthenticatedError
from domain.logins import find_user_by_email
from domain.models import EmailNotification, Event, Order, PaymentTransaction, Promoter, Ticket, User, Waitlist
from domain.models.notifications import ERASED_ADDRESS
from domain.models.payments import OPEN_STATUSES
from domain.notifications import OPEN, queue_mail
from domain.personal_data import FAREWELL, person_of, redact
from domain.ports import PasswordHasher
from domain.rules.lifecycle import ENDED
from domain.rules.states import EventStatus, OrderStage, TicketStatus, WaitlistStatus
from domain.users import require_another_admin

ECHO = timedelta(days=3)
"""So long a mail may be under way, and reports about it come in, after it was handed over."""
BATCH = 100


def erase_own(
    sessions: sessionmaker[Session], hasher: PasswordHasher, actor: Actor, password: str, now: datetime
) -> None:
    """Forget the actor, who proves by their password that it is they who ask.

    Raises `UnauthenticatedError` (`invalid-credentials`) for a wrong password, `BusyError`, and what `erase` raises.
    """
    if actor.user_id is None:
        raise NotFoundError("account")
    with sessions() as session:
        user = find_user(session, actor.user_id)
    if not hasher.verify(password, user.password_hash):
        raise UnauthenticatedError("The password is wrong.", code="invalid-credentials", pointer="/password")
    with sessions.begin() as session:
        erase(session, actor, user.id, now)


def erase(session: Session, actor: Actor, user_id: UUID, now: datetime) -> None:
    """Forget a person, and tell them by mail, unless their address is somebody else's by now.

    They leave every waitlist. Again forgets what came in meanwhile.

    Raises `NotFoundError`, or `ConflictError`: `last-admin`, or `erasure-too-early` while something of theirs is still
    under way that needs them: an order, money, a ticket for an event to come, an event on sale.
    """
    require_another_admin(session, user_id)
    user = session.get(User, user_id, with_for_update={"key_share": True})
    if user is None:
        raise NotFoundError("user")
    if user.erased_at is not None:
        _forget(session, actor, user, user.erased_at)
        return
    _leave_waitlists(session, actor, user, now)
    if hindrance := _find_hindrance(session, user, now):
        raise ConflictError(hindrance, code="erasure-too-early")
    if find_user_by_email(session, user.email) in {None, user}:
        _say_farewell(session, user)
    _forget(session, actor, user, now)


def _forget(session: Session, actor: Actor, user: User, erased_at: datetime) -> None:
    address = user.email
    user.is_active = False
    user.deleted_at = user.erased_at = erased_at
    audit.record(session, actor, "user.erase", user, new={"erased_at": erased_at.isoformat()})
    session.flush()
    redact(session, person_of(session, user, address))


def redact_echoes(session: Session, now: datetime) -> None:
    """Redact what was kept, or came in, after an account's end: its farewell, and the reports about its mails."""
    farewells = session.execute(
        select(User, EmailNotification.recipient)
        .join(User, User.id == EmailNotification.user_id)
        .where(EmailNotification.template == FAREWELL, EmailNotification.recipient != ERASED_ADDRESS)
        .where(EmailNotification.status.not_in(OPEN), EmailNotification.updated_at < now - ECHO)
        .order_by(EmailNotification.id)
        .limit(BATCH)
    ).all()
    # All before the first, which makes stale what was loaded.
    for person in [person_of(session, user, address) for user, address in farewells]:
        redact(session, person)


def _leave_waitlists(session: Session, actor: Actor, user: User, now: datetime) -> None:
    """Leave every line, and decline what is offered, before the orders are looked at: an offer is one."""
    in_line = Waitlist.status.in_([WaitlistStatus.WAITING, WaitlistStatus.OFFERED])
    own = select(Waitlist.id).where(Waitlist.user_id == user.id, in_line).order_by(Waitlist.id)
    person = Actor(user.id, user.role, actor.ip, actor.user_agent, actor.request_id)
    for entry_id in session.scalars(own).all():
        waitlist.leave(session, entry_id, person, now)
    session.flush()


def _find_hindrance(session: Session, user: User, now: datetime) -> str | None:
    # Locked as everybody does, so that none of them moves between this look and the end.
    orders = session.execute(
        select(Order.stage, Order.hold_expires_at)
        .where(Order.user_id == user.id)
        .order_by(Order.id)
        .with_for_update(key_share=True)
    ).all()
    # One that is closed while a clock runs was paid late.
    if any(stage not in ENDED or (stage is OrderStage.CLOSED and clock is not None) for stage, clock in orders):
        return "An order is under way: pay it or cancel it, and ask again when it has ended."
    hindrances = _hindrances(user.id, now).items()
    return next((why for why, hinders in hindrances if session.scalar(select(hinders))), None)


def _hindrances(user_id: UUID, now: datetime) -> dict[str, Exists]:
    own_orders = select(Order.id).where(Order.user_id == user_id)
    return {
        "Money is on its way, by a payment, a refund or a dispute: ask again when it has arrived.": exists().where(
            PaymentTransaction.order_id.in_(own_orders), PaymentTransaction.status.in_(OPEN_STATUSES)
        ),
        "There are tickets for an event that is not over: give them back, or ask again afterwards.": exists().where(
            Ticket.holder_id == user_id,
            Ticket.status == TicketStatus.VALID,
            Ticket.event_id == Event.id,
            Event.ends_at > now,
        ),
        "An event of theirs is on sale or still to come: cancel it, or ask again when it is over.": exists().where(
            Promoter.user_id == user_id,
            Event.promoter_id == Promoter.id,
            Event.status == EventStatus.PUBLISHED,
            Event.deleted_at.is_(None),
        ),
    }


def _say_farewell(session: Session, user: User) -> None:
    queue_mail(
        session,
        template=FAREWELL,
        purpose=f"{FAREWELL}:{user.id}",
        recipient=user.email,
        recipient_name=user.full_name,
        user_id=user.id,
    )
