"""How many of a tier's tickets people hold, for the consumer that counts them, and as a condition on the waitlist.

Both read one index of what is reserved and sold (docs/adr/0028), whatever else a person has bought.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.orm import Session

from domain.models import OrderItem, TicketTier, Waitlist


def within_limit() -> ColumnElement[bool]:
    """Tell, in a query over `Waitlist` and its `TicketTier`, whether an entry's person may hold what it asks for.

    Who may not keeps the place, since other orders of theirs may lapse, but holds no seats back from others.
    """
    taken = (
        select(func.coalesce(func.sum(OrderItem.quantity - OrderItem.returned), 0))
        .where(OrderItem.tier_id == Waitlist.tier_id, OrderItem.user_id == Waitlist.user_id)
        # The states stand in the text: a plan that is kept for any states would not know the index of these.
        .where(text("order_items.inventory_state IN ('reserved', 'sold')"))
        .correlate(Waitlist)
        .scalar_subquery()
    )
    return or_(TicketTier.max_per_person.is_(None), taken + Waitlist.quantity <= TicketTier.max_per_person)


# One probe of the index for each pair, since nothing else can be made of an aggregate of its own. What comes back is
# the pair's place in the list: the consumer asks for hundreds at once, and knows who they are.
_COUNT_PER_PERSON = text("""
    SELECT sought.place, held.tickets
    FROM unnest(CAST(:tier_ids AS uuid[]), CAST(:people AS uuid[])) WITH ORDINALITY AS sought (tier_id, user_id, place)
    CROSS JOIN LATERAL (
        SELECT CAST(sum(item.quantity - item.returned) AS integer) AS tickets FROM order_items AS item
        WHERE item.tier_id = sought.tier_id AND item.user_id = sought.user_id
          AND item.inventory_state IN ('reserved', 'sold')
    ) AS held
    WHERE held.tickets > 0
""")


def count_per_person(session: Session, sought: Collection[tuple[UUID, UUID]]) -> Mapping[UUID, Mapping[UUID, int]]:
    """Return how many tickets people hold of tiers, by tier and person; who holds none is left out.

    `sought` are distinct pairs of a tier and a person.
    """
    taken: dict[UUID, dict[UUID, int]] = defaultdict(dict)
    if sought:
        pairs = list(sought)
        values = {"tier_ids": [tier_id for tier_id, _ in pairs], "people": [person for _, person in pairs]}
        for place, tickets in session.execute(_COUNT_PER_PERSON, values).all():
            tier_id, person = pairs[place - 1]
            taken[tier_id][person] = tickets
    return taken
