"""How many of a tier's tickets people hold, for the consumer that counts them, and as a condition on the waitlist."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.orm import Session

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


# By the person, who has few orders; never by the event, which may have a hundred thousand: its column is not named,
# since a planner that takes the event for one of many small ones would walk them all for each person.
_COUNT_PER_PERSON = text("""
    SELECT sought.tier_id, sought.user_id, sum(item.quantity - item.returned) AS taken
    FROM unnest(CAST(:tier_ids AS uuid[]), CAST(:people AS uuid[])) AS sought (tier_id, user_id)
    JOIN orders ON orders.user_id = sought.user_id
    JOIN order_items AS item ON item.order_id = orders.id AND item.tier_id = sought.tier_id
    WHERE item.inventory_state IN ('reserved', 'sold')
    GROUP BY sought.tier_id, sought.user_id
""")


def count_per_person(session: Session, sought: Collection[tuple[UUID, UUID]]) -> Mapping[UUID, Mapping[UUID, int]]:
    """Return how many tickets people hold of tiers, by tier and person; who holds none is left out.

    `sought` are distinct pairs of a tier and a person.
    """
    taken: dict[UUID, dict[UUID, int]] = defaultdict(dict)
    if sought:
        values = {"tier_ids": [tier_id for tier_id, _ in sought], "people": [person for _, person in sought]}
        for row in session.execute(_COUNT_PER_PERSON, values).all():
            taken[row.tier_id][row.user_id] = int(row.taken)
    return taken
