"""Orders of tiers that require approval: held without payment until their promoter decides, or the deadline passes.

That they wait, the sweep tells buyers and teams: no message needs to arrive, and the tiers' consumers write no mails.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload, sessionmaker

from domain import audit
from domain.audit import Actor
from domain.buyers import write_to_buyer
from domain.changes import as_json
from domain.errors import ConflictError, ForbiddenError, NotFoundError
from domain.messages import OpenPayment, announce
from domain.models import ApprovalNotice, EmailNotification, Event, Order, Promoter, TeamMember, User
from domain.notifications import queue_mail
from domain.one_by_one import one_by_one
from domain.ownership import IN_OFFICE, may
from domain.rules.clocks import Clocks
from domain.rules.states import OrderReason, OrderStage, TeamRight
from domain.transitions import close, lock_order, move

BATCH = 200
NOTICE_PAUSE = timedelta(minutes=15)
"""A team hears of an event's waiting orders no more often than this."""


def approve(session: Session, order_id: UUID, actor: Actor, clocks: Clocks, now: datetime) -> None:
    """Let a held order go on to payment, and tell the buyer.

    Raises `NotFoundError` unless the actor sells for the event, `ForbiddenError` for its buyer, `ConflictError` unless
    the order awaits approval.
    """
    order = _lock_awaiting_approval(session, order_id, actor)
    move(session, order, OrderStage.HELD, "approved")
    order.hold_expires_at = order.hold_limit_at = clocks.latest_end(now)
    announce(session, OpenPayment(order.id), order.request_id)
    write_to_buyer(session, order, "order_held")
    audit.record(session, actor, "order.approve", order)


def decline(session: Session, order_id: UUID, actor: Actor, now: datetime) -> None:
    """Refuse an order that awaits approval, and tell the buyer; raises what `approve` raises."""
    order = _lock_awaiting_approval(session, order_id, actor)
    close(session, order, OrderReason.DECLINED, now)
    write_to_buyer(session, order, "order_cancelled")
    audit.record(session, actor, "order.decline", order)


def _lock_awaiting_approval(session: Session, order_id: UUID, actor: Actor) -> Order:
    order = lock_order(session, order_id)
    if order is None:
        raise NotFoundError("order")
    event = session.get_one(Event, order.event_id, options=[joinedload(Event.promoter)], populate_existing=True)
    if not may(session, event, actor, TeamRight.SELL):
        raise ForbiddenError("The organiser decides.") if order.user_id == actor.user_id else NotFoundError("order")
    if order.stage is not OrderStage.AWAITING_APPROVAL:
        raise ConflictError("This order does not await approval.", code="not-awaiting-approval")
    return order


_WAITS = Order.stage == OrderStage.AWAITING_APPROVAL
_BUYERS_MAIL = "order_awaiting_approval"


def tell_buyers(sessions: sessionmaker[Session]) -> int:
    """Tell buyers, once each, that their orders await approval; return how many were told."""
    with sessions() as session:
        untold = find_untold(session)
    return one_by_one(sessions, untold, _tell_buyer)


def find_untold(session: Session) -> Sequence[UUID]:
    """Return the orders that await approval without their buyer's knowing."""
    is_told = exists().where(EmailNotification.purpose == func.concat(_BUYERS_MAIL, ":", cast(Order.id, Text)))
    return session.scalars(select(Order.id).where(_WAITS, ~is_told).order_by(Order.updated_at).limit(BATCH)).all()


def _tell_buyer(session: Session, order_id: UUID) -> bool:
    order = lock_order(session, order_id)
    if order is None or order.stage is not OrderStage.AWAITING_APPROVAL:
        return False
    write_to_buyer(session, order, _BUYERS_MAIL)
    news = insert(ApprovalNotice).values(event_id=order.event_id, has_news=True)
    session.execute(news.on_conflict_do_update(index_elements=["event_id"], set_={"has_news": True}))
    return True


def tell_teams(sessions: sessionmaker[Session], now: datetime) -> int:
    """Tell those who sell for an event that orders came to wait, unless they heard just now; return of how many events.

    Orders that come within the pause are told of together at its end.
    """
    with sessions() as session:
        due = session.scalars(select(ApprovalNotice.event_id).where(_is_due(now)).limit(BATCH)).all()
    return one_by_one(sessions, due, lambda session, event_id: _tell_team(session, event_id, now))


def _is_due(now: datetime) -> ColumnElement[bool]:
    told_at = ApprovalNotice.told_at
    return and_(ApprovalNotice.has_news, or_(told_at.is_(None), told_at <= now - NOTICE_PAUSE))


def _tell_team(session: Session, event_id: UUID, now: datetime) -> bool:
    notice = session.scalar(
        select(ApprovalNotice).where(ApprovalNotice.event_id == event_id, _is_due(now)).with_for_update()
    )
    if notice is None:
        return False
    notice.has_news = False
    waiting = select(func.count(), func.min(Order.hold_expires_at)).where(_WAITS, Order.event_id == event_id)
    count, first_end = session.execute(waiting).one()
    if not count:
        return False
    notice.told_at = now
    for person in _sellers(session, event_id):
        queue_mail(
            session,
            template="orders_await_approval",
            purpose=f"orders_await_approval:{event_id}:{person.id}:{now.isoformat()}",
            recipient=person.email,
            recipient_name=person.full_name,
            user_id=person.id,
            context=as_json({"event_id": event_id, "orders": count, "expires_at": first_end}),
        )
    return True


def _sellers(session: Session, event_id: UUID) -> Sequence[User]:
    """Return the event's promoter, and the members of their team who sell; nobody where the promoter may do nothing."""
    promoter = select(Promoter.user_id).join(Event).where(Event.id == event_id)
    in_office = promoter.join(User, User.id == Promoter.user_id).where(IN_OFFICE).exists()
    members = (
        select(TeamMember.user_id)
        .join(Event, Event.promoter_id == TeamMember.promoter_id)
        .where(Event.id == event_id, TeamMember.rights.contains([TeamRight.SELL]))
    )
    is_seller = User.id.in_(promoter.union(members))
    is_there = User.is_active & User.deleted_at.is_(None)
    return session.scalars(select(User).where(is_seller, is_there, in_office)).all()
