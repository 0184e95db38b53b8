"""Orders of tiers that require approval: held without payment until their promoter decides, or the deadline passes."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from domain import audit
from domain.audit import Actor
from domain.buyers import write_to_buyer
from domain.errors import ConflictError
from domain.messages import OpenPayment, announce
from domain.models import Order
from domain.orders import lock_for_promoter
from domain.rules.clocks import Clocks
from domain.rules.states import OrderReason, OrderStage
from domain.transitions import close, move


def approve(session: Session, order_id: UUID, actor: Actor, clocks: Clocks, now: datetime) -> None:
    """Let a held order go on to payment, and tell the buyer.

    Raises what `orders.lock_for_promoter` raises, and `ConflictError` unless the order awaits approval.
    """
    order = lock_for_promoter(session, order_id, actor)
    _require_awaiting_approval(order)
    move(session, order, OrderStage.HELD, "approved")
    order.hold_expires_at = order.hold_limit_at = clocks.latest_end(now)
    announce(session, OpenPayment(order.id), order.request_id)
    write_to_buyer(session, order, "order_held")
    audit.record(session, actor, "order.approve", order)


def decline(session: Session, order_id: UUID, actor: Actor, now: datetime) -> None:
    """Refuse an order that awaits approval, and tell the buyer; raises what `approve` raises."""
    order = lock_for_promoter(session, order_id, actor)
    _require_awaiting_approval(order)
    close(session, order, OrderReason.DECLINED, now)
    write_to_buyer(session, order, "order_cancelled")
    audit.record(session, actor, "order.decline", order)


def _require_awaiting_approval(order: Order) -> None:
    if order.stage is not OrderStage.AWAITING_APPROVAL:
        raise ConflictError("This order does not await approval.", code="not-awaiting-approval")
