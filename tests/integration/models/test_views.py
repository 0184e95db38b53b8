import pytest
from sqlalchemy import text

from domain.rules.states import MailStatus, OrderReason, OrderStage, OrderStatus, TicketStatus
from tests.factories import (
    EmailNotificationFactory,
    OrderFactory,
    TicketTierFactory,
    UserFactory,
    bound_to,
)
from tests.factories.base import from_now

MATERIALIZED = ("sales_by_hour", "order_funnel", "refusals_by_reason")


def rows(session, view, **where):
    condition = " AND ".join(f"{name} = :{name}" for name in where) or "true"
    return [dict(row) for row in session.execute(text(f"SELECT * FROM {view} WHERE {condition}"), where).mappings()]


def test_event_sales_shows_stock_and_money_of_each_tier(session):
    front = TicketTierFactory(price=5_000, quantity=10)
    back = TicketTierFactory(price=1_000, quantity=20, event=front.event)
    both = OrderFactory(stage=OrderStage.COMPLETE, contents={front: 2, back: 1})
    alone = OrderFactory(stage=OrderStage.COMPLETE, tier=front, refunded=1_000)
    OrderFactory(stage=OrderStage.HELD, tier=front, quantity=3)
    OrderFactory(stage=OrderStage.CLOSED, tier=front)
    sales = {row["tier_id"]: row for row in rows(session, "event_sales", event_id=front.event_id)}
    gross = {item.tier_id: item.subtotal + item.fees + item.tax for item in both.items}
    stock = ("sold", "reserved", "available", "orders", "gross", "refunded")
    assert [sales[front.id][name] for name in stock] == [3, 3, 4, 2, gross[front.id] + alone.total, 1_000]
    assert [sales[back.id][name] for name in stock] == [1, 0, 19, 1, gross[back.id], 0]


def test_a_refund_over_several_tiers_is_spread_without_losing_any_of_a_whole_one(session):
    front = TicketTierFactory(price=5_000)
    back = TicketTierFactory(event=front.event, price=1_000)
    order = OrderFactory(stage=OrderStage.COMPLETE, contents={front: 2, back: 1}, with_tickets=False)
    order.refunded = order.total
    session.flush()
    sales = rows(session, "event_sales", event_id=front.event_id)
    assert sum(row["refunded"] for row in sales) == order.total
    assert all(row["refunded"] == row["gross"] for row in sales)


def test_order_overview_tells_a_promoter_who_bought_what(session):
    tier = TicketTierFactory(name="Front", sort_order=1)
    other = TicketTierFactory(name="Back", sort_order=2, event=tier.event)
    buyer = UserFactory(first_name="Grace", last_name="Hopper", email="grace@example.com")
    order = OrderFactory(user=buyer, contents={other: 1, tier: 2})
    (row,) = rows(session, "order_overview", promoter_id=tier.event.promoter_id)
    assert row["order_id"] == order.id
    assert (row["buyer_name"], row["buyer_email"]) == ("Grace Hopper", "grace@example.com")
    assert (row["tickets"], row["tiers"]) == (3, "2 x Front, 1 x Back")
    assert (row["stage"], row["total"]) == ("queued", order.total)


def test_door_list_holds_who_may_come_in_or_is_in(session):
    tier = TicketTierFactory(name="Floor")
    order = OrderFactory(stage=OrderStage.COMPLETE, tier=tier, quantity=3)
    tickets = session.execute(text("SELECT id FROM tickets ORDER BY position")).scalars().all()
    session.execute(text("UPDATE tickets SET status = 'refunded' WHERE id = :id"), {"id": tickets[0]})
    session.execute(text("UPDATE tickets SET blocked_at = now() WHERE id = :id"), {"id": tickets[1]})
    door = {row["ticket_id"]: row for row in rows(session, "door_list", event_id=tier.event_id)}
    assert set(door) == set(tickets[1:])
    assert [door[ticket]["is_blocked"] for ticket in tickets[1:]] == [True, False]
    assert {row["order_number"] for row in door.values()} == {order.number}
    assert {row["status"] for row in door.values()} == {TicketStatus.VALID}


def test_tier_counters_shows_a_counter_that_drifted(session):
    tier = OrderFactory(stage=OrderStage.HELD, quantity=2).items[0].tier
    tier.reserved = 5
    session.flush()
    (row,) = rows(session, "tier_counters", tier_id=tier.id)
    assert (row["reserved"], row["counted_reserved"]) == (5, 2)


@pytest.fixture
def a_sale(sessions):
    """Commit one order of every kind, because a refresh sees only what is committed."""
    with sessions.begin() as session, bound_to(session):
        tier = TicketTierFactory()
        event_id, tier_id = tier.event_id, tier.id
        OrderFactory(tier=tier, stage=OrderStage.QUEUED)
        OrderFactory(tier=tier, stage=OrderStage.AWAITING_PAYMENT)
        OrderFactory(tier=tier, stage=OrderStage.ISSUING)
        done = OrderFactory(tier=tier, stage=OrderStage.COMPLETE, quantity=2, confirmed_at=from_now(days=-2))
        EmailNotificationFactory(
            template="order_confirmed", purpose=f"order_confirmed:{done.id}", order=done, status=MailStatus.DELIVERED
        )
        OrderFactory(tier=tier, stage=OrderStage.COMPLETE)
        OrderFactory(tier=tier, stage=OrderStage.CLOSED, quantity=4)
        OrderFactory(tier=tier, stage=OrderStage.CLOSED, reason=OrderReason.HOLD_EXPIRED)
        OrderFactory(tier=tier, stage=OrderStage.CLOSED, status=OrderStatus.REFUNDED, confirmed_at=from_now(days=-2))
    return event_id, tier_id


@pytest.fixture
def refreshed(engine, a_sale):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for view in MATERIALIZED:
            connection.execute(text(f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view}"))
    return a_sale


def test_the_funnel_narrows_from_accepted_to_delivered(refreshed, sessions):
    event_id, _ = refreshed
    with sessions() as session:
        (row,) = rows(session, "order_funnel", event_id=event_id)
    assert row == {"event_id": event_id, "accepted": 8, "held": 6, "paid": 4, "issued": 2, "delivered": 1}


def test_sales_are_counted_by_the_hour_of_their_confirmation(refreshed, sessions):
    event_id, tier_id = refreshed
    with sessions() as session:
        hours = rows(session, "sales_by_hour", event_id=event_id, tier_id=tier_id)
    assert sum(row["orders"] for row in hours) == 4
    assert sum(row["tickets"] for row in hours) == 5
    assert len(hours) == 2
    assert all(row["hour"].minute == row["hour"].second == 0 for row in hours)


def test_refusals_are_counted_by_reason(refreshed, sessions):
    event_id, _ = refreshed
    with sessions() as session:
        refusals = {
            row["reason"]: (row["orders"], row["tickets"])
            for row in rows(session, "refusals_by_reason", event_id=event_id)
        }
    assert refusals == {OrderReason.SOLD_OUT: (1, 4), OrderReason.HOLD_EXPIRED: (1, 1)}


@pytest.mark.parametrize("view", MATERIALIZED)
def test_the_application_refreshes_while_others_read(engine, view):
    with engine.connect() as reader, engine.connect() as refresher:
        reader.execute(text(f"SELECT count(*) FROM {view}"))
        refresher.execute(text("SET lock_timeout = '1s'"))
        refresher.execute(text(f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view}"))
        refresher.rollback()
