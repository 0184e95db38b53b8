"""How many of a tier's tickets one person may hold, as a condition on the waitlist."""

from sqlalchemy import ColumnElement, func, or_, select

from domain.models import Order, OrderItem, TicketTier, Waitlist
from domain.rules.states import InventoryState

TAKEN = (InventoryState.RESERVED, InventoryState.SOLD)


def within_limit() -> ColumnElement[bool]:
    """Tell, in a query over `Waitlist` and its `TicketTier`, whether an entry's person may hold what it asks for.

    Who may not keeps the place, since other orders of theirs may lapse, but holds no seats back from others.
    """
    taken = (
        select(func.coalesce(func.sum(OrderItem.quantity - OrderItem.returned), 0))
        .join(Order, Order.id == OrderItem.order_id)
        .where(Order.user_id == Waitlist.user_id, OrderItem.tier_id == Waitlist.tier_id)
        .where(OrderItem.inventory_state.in_(TAKEN))
        .correlate(Waitlist)
        .scalar_subquery()
    )
    return or_(TicketTier.max_per_person.is_(None), taken + Waitlist.quantity <= TicketTier.max_per_person)
