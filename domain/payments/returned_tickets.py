"""Tickets that go back with a refund: which they are, what they are worth, what becomes of them and of their seats.

They keep their refund's id from the request on. The refund itself is in `refunds.py` and `repayment.py`.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, select, true, update
from sqlalchemy.orm import Session

from domain import transfer_mails
from domain.errors import ConflictError, InvalidError
from domain.messages import ServeTier, announce
from domain.models import Order, PaymentTransaction, Ticket
from domain.rules.money import charge_step
from domain.rules.refunds import ticket_share
from domain.rules.states import InventoryState, TicketStatus

LIVE = (TicketStatus.VALID, TicketStatus.USED)
_KEEPING = frozenset({InventoryState.RESERVED, InventoryState.SOLD})
"""Where an item still has seats that could go back."""


def find_refundable(session: Session, order: Order) -> list[Ticket]:
    """Return the order's tickets that no refund has been asked for, as they are now."""
    query = (
        select(Ticket)
        .where(Ticket.order_id == order.id, Ticket.status.in_(LIVE), Ticket.refund_id.is_(None))
        .order_by(Ticket.order_item_id, Ticket.position)
    )
    return list(session.scalars(query.execution_options(populate_existing=True)))


def choose(session: Session, order: Order, ticket_ids: Sequence[UUID]) -> list[Ticket]:
    """Return these tickets of a locked order, to be refunded.

    Raises `InvalidError` for one that the order does not have, `ConflictError` for one that went back or is going.
    """
    query = select(Ticket).where(Ticket.order_id == order.id, Ticket.id.in_(ticket_ids))
    found = {ticket.id: ticket for ticket in session.scalars(query.execution_options(populate_existing=True))}
    for index, ticket_id in enumerate(ticket_ids):
        if ticket_id not in found:
            raise InvalidError("This order has no such ticket.", pointer=f"/tickets/{index}")
        ticket = found[ticket_id]
        if ticket.status not in LIVE or ticket.refund_id is not None:
            is_open = ticket.status in LIVE
            raise ConflictError(
                "A refund of this ticket is under way." if is_open else f"This ticket is {ticket.status} already.",
                code="ticket-not-refundable",
                pointer=f"/tickets/{index}",
            )
    return [found[ticket_id] for ticket_id in ticket_ids]


def worth(order: Order, tickets: Sequence[Ticket]) -> int:
    """Return what was paid for these tickets of the order, fees and tax included."""
    items, step = {item.id: item for item in order.items}, charge_step(order.currency)
    shared = ((items[ticket.order_item_id], ticket.position) for ticket in tickets)
    return sum(
        ticket_share(item.subtotal + item.fees + item.tax, item.quantity, place, step=step) for item, place in shared
    )


def promise(session: Session, refund: PaymentTransaction, tickets: Sequence[Ticket]) -> None:
    """Bind tickets to the refund that was asked for them: they open no door any more, unless it fails."""
    for ticket in tickets:
        ticket.refund_id = refund.id
    session.flush()


def hand_on(session: Session, failed: PaymentTransaction, follower: PaymentTransaction) -> None:
    """Bind a failed refund's tickets to the one that is tried next."""
    session.execute(update(Ticket).where(_are_of(failed)).values(refund_id=follower.id))


def let_go(session: Session, failed: PaymentTransaction) -> None:
    """Free the tickets of a refund that failed for good; what was withdrawn stays withdrawn."""
    session.execute(update(Ticket).where(_are_of(failed), Ticket.status.in_(LIVE)).values(refund_id=None))


def are_withdrawn(session: Session, refund: PaymentTransaction) -> bool:
    """Tell whether tickets were taken away for this refund, so that its money is owed."""
    withdrawn = Ticket.status == TicketStatus.REFUNDED
    return bool(session.scalar(select(exists().where(_are_of(refund), withdrawn))))


def withdraw(session: Session, order: Order, refund: PaymentTransaction, *, everything: bool) -> int:
    """Take back the tickets of a refund that succeeded, or all that the order still has; return how many.

    Whoever holds one that was handed on is told.
    """
    # What another refund was asked for keeps that one, whose money is then owed.
    chosen = true() if everything else Ticket.refund_id == refund.id
    taken = session.scalars(
        update(Ticket)
        .where(Ticket.order_id == order.id, Ticket.status.in_(LIVE), chosen)
        .values(status=TicketStatus.REFUNDED, refund_id=func.coalesce(Ticket.refund_id, refund.id))
        .returning(Ticket.id)
    ).all()
    transfer_mails.tell_holders(session, order, taken)
    return len(taken)


def has_live(session: Session, order: Order) -> bool:
    """Tell whether the order still has a ticket that was not taken back."""
    return bool(session.scalar(select(exists().where(Ticket.order_id == order.id, Ticket.status.in_(LIVE)))))


def give_seats_back(session: Session, order: Order, *, has_ended: bool) -> None:
    """Ask the tiers' consumers to take back the seats of a locked order's tickets that were taken away.

    Where somebody went in with a ticket, that seat is not free, whoever got the money. Of an order that has ended an
    item of which nobody went in is released as a whole.
    """
    unused, used = func.count().filter(Ticket.checked_in_at.is_(None)), func.count(Ticket.checked_in_at)
    query = select(Ticket.order_item_id, unused, used).where(Ticket.order_id == order.id, Ticket.status.not_in(LIVE))
    counts = {item_id: (free, taken) for item_id, free, taken in session.execute(query.group_by(Ticket.order_item_id))}
    for item in order.items:
        free, taken = counts.get(item.id, (0, 0))
        if item.inventory_state not in _KEEPING:
            continue
        if has_ended and not taken:
            item.desired_state = InventoryState.RELEASED
        elif free > max(item.returned, item.desired_returned or 0):
            item.desired_state, item.desired_returned = InventoryState.SOLD, free
        else:
            continue
        announce(session, ServeTier(item.tier_id))


def _are_of(refund: PaymentTransaction) -> ColumnElement[bool]:
    # The order is named for the index over its tickets.
    return (Ticket.order_id == refund.order_id) & (Ticket.refund_id == refund.id)
