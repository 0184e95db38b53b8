"""What people hold, and that counting it costs the same however much they have bought before."""

import pytest
from sqlalchemy import event, insert, select
from uuid_utils.compat import uuid7

from domain.code_counters import count_by_person
from domain.models import Order, OrderItem, TicketTier, Waitlist
from domain.person_limits import count_per_person, within_limit
from domain.rules.states import OrderReason, OrderStage
from tests.factories import CodeFactory, OrderFactory, TicketTierFactory, UserFactory, WaitlistFactory, bound_to

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
NUMBERS = {"sequence", "number", "idempotency_key", "idempotency_fingerprint"}
"""What each order has of its own, beside its id."""


@pytest.fixture(autouse=True)
def _rows(session):
    with bound_to(session):
        yield


def pages_read(session, ask):
    """Return what the answer is, and how many pages of tables and indexes were read for it."""
    plans = []

    def explain(connection, cursor, statement, parameters, context, executemany):
        explained = connection.connection.driver_connection.execute(f"{EXPLAIN} {statement}", parameters)
        plans.extend(explained.fetchone()[0])

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", explain)
    answer = ask()
    event.remove(connection, "before_cursor_execute", explain)
    return answer, sum(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] for plan in plans)


def buy_again(session, order, times):
    """Write so many orders of one item that are like this one."""
    ids = [uuid7() for _ in range(times)]
    session.execute(insert(Order), [values_of(order, NUMBERS) | {"id": order_id} for order_id in ids])
    copy = values_of(order.items[0])
    session.execute(insert(OrderItem), [copy | {"id": uuid7(), "order_id": order_id} for order_id in ids])


def values_of(row, without=frozenset()):
    return {column.key: getattr(row, column.key) for column in row.__table__.columns if column.key not in without}


def may_wait(session):
    entries = select(Waitlist.id).join(TicketTier, TicketTier.id == Waitlist.tier_id)
    return session.scalars(entries.where(within_limit())).all()


@pytest.mark.parametrize("kind", ["of a tier", "with a code", "for the waitlist"])
def test_what_a_person_holds_is_read_by_as_many_pages_after_five_hundred_orders_as_after_one(session, kind):
    person, tier = UserFactory(), TicketTierFactory(quantity=5_000, max_per_person=4)
    code = CodeFactory(event_id=tier.event_id)
    held = OrderFactory(user=person, tier=tier, quantity=3, code=code, stage=OrderStage.HELD)
    entry = WaitlistFactory(user=person, tier=tier, quantity=1)
    earlier = [
        OrderFactory(user=person, stage=OrderStage.COMPLETE, with_payment=False, with_tickets=False),
        OrderFactory(user=person, tier=tier, stage=OrderStage.CLOSED, reason=OrderReason.LIMIT_EXCEEDED),
    ]
    ask, answer = {
        "of a tier": (lambda: count_per_person(session, [(tier.id, person.id)]), {tier.id: {person.id: 3}}),
        "with a code": (lambda: count_by_person(session, [held.id]), {code.id: {person.id: 3}}),
        "for the waitlist": (lambda: may_wait(session), [entry.id]),
    }[kind]
    found, pages_after_one = pages_read(session, ask)
    assert found == answer
    for order in earlier:
        buy_again(session, order, 250)
    found, pages = pages_read(session, ask)
    assert found == answer
    # An index that has grown may have a level more.
    assert pages <= pages_after_one + 3


def test_what_is_held_is_what_was_reserved_and_sold_and_not_given_back(session):
    person, other, tier = UserFactory(), UserFactory(), TicketTierFactory(quantity=100)
    elsewhere = TicketTierFactory(event=tier.event)
    OrderFactory(user=person, contents={tier: 2, elsewhere: 1}, stage=OrderStage.HELD)
    sold = OrderFactory(user=person, tier=tier, quantity=4, stage=OrderStage.COMPLETE)
    sold.items[0].returned = 1
    refunded = OrderFactory(user=other, tier=tier, quantity=1, stage=OrderStage.COMPLETE)
    refunded.items[0].returned = 1
    OrderFactory(user=other, tier=tier, quantity=2)
    OrderFactory(user=other, tier=tier, quantity=2, stage=OrderStage.CLOSED, reason=OrderReason.HOLD_EXPIRED)
    session.flush()
    pairs = [(tier.id, other.id), (elsewhere.id, other.id), (tier.id, person.id), (elsewhere.id, person.id)]
    assert count_per_person(session, pairs) == {tier.id: {person.id: 5}, elsewhere.id: {person.id: 1}}
