"""What a code allows, as the tiers' consumers count it."""

from datetime import UTC, datetime
from threading import Barrier, Thread

import pytest
from sqlalchemy import event, func, select, update

from domain import allocation
from domain.invariants import stock
from domain.invariants.breaches import Scope
from domain.models import Code, FairnessEntry, Order, OrderItem, TicketTier, TimelineEntry
from domain.rules.states import InventoryState, OrderReason, OrderStage
from domain.transitions import close, lock_order
from tests.factories import CodeFactory, EventFactory, OrderFactory, TicketTierFactory, UserFactory, bound_to
from tests.integration.domain.invariants.conftest import PATIENCE
from tests.integration.domain.test_waitlist_races import Rival, in_transaction
from tests.integration.market import CLOCKS

NOW = datetime.now(UTC)
ALL_ARE_RIGHT = next(each for each in stock.INVARIANTS if each.name == "codes_equal_rows")


@pytest.fixture(autouse=True)
def _rows(request):
    if "sessions" in request.fixturenames:
        yield
        return
    with bound_to(request.getfixturevalue("session")):
        yield


@pytest.fixture
def tier():
    return TicketTierFactory(quantity=100)


def serve(session, *tiers):
    allocation.serve_together(session, [tier.id for tier in tiers], NOW, CLOCKS, batch=100)
    session.flush()
    session.expire_all()


def counters(session, code):
    """Return the code's counters, which must be what its rows say."""
    session.refresh(code)
    assert ALL_ARE_RIGHT.find(session, Scope([code.event_id], NOW, PATIENCE)) == []
    return code.uses, code.tickets


def wish(session, order, state):
    session.execute(update(OrderItem).where(OrderItem.order_id == order.id).values(desired_state=state))


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "served", "counted"),
        [
            ({"max_uses": 2}, [True, True, False, False], (2, 4)),
            # One of two fits where one of three did not.
            ({"max_tickets": 3}, [True, True, False, False], (2, 3)),
            ({"max_tickets": 5}, [True, True, False, True], (3, 5)),
            ({"max_per_person": 2}, [True, True, False, False], (2, 3)),
            ({}, [True, True, True, True], (4, 8)),
        ],
    )
    def test_who_comes_first_has_it(self, session, tier, limits, served, counted):
        code = CodeFactory(event_id=tier.event_id, **limits)
        first, second = UserFactory(), UserFactory()
        quantities = (2, 2, 3, 1) if "max_uses" in limits else (2, 1, 3, 2)
        buyers = (first, second, second, first)
        orders = [
            OrderFactory(tier=tier, quantity=n, user=buyer, code=code)
            for n, buyer in zip(quantities, buyers, strict=True)
        ]
        serve(session, tier)
        assert [order.stage is OrderStage.HELD for order in orders] == served
        assert counters(session, code) == counted

    def test_a_refusal_names_the_code_and_looks_in_public_like_every_limit(self, session, tier):
        code = CodeFactory(event_id=tier.event_id, max_uses=1)
        kept, refused = (OrderFactory(tier=tier, code=code) for _ in range(2))
        serve(session, tier)
        assert (kept.stage, refused.stage, refused.reason) == (
            OrderStage.HELD,
            OrderStage.CLOSED,
            OrderReason.LIMIT_EXCEEDED,
        )
        said = session.scalars(select(TimelineEntry).where(TimelineEntry.order_id == refused.id)).all()
        assert [(entry.kind, entry.data) for entry in said] == [
            ("cancelled", {"reason": "limit_exceeded", "limit": "code"})
        ]
        logged = session.execute(
            select(FairnessEntry.kind, FairnessEntry.reason).where(FairnessEntry.sequence == refused.sequence)
        ).one()
        assert tuple(logged) == ("refused", "limit_exceeded")

    def test_others_are_served_as_if_there_were_no_code(self, session, tier):
        code = CodeFactory(event_id=tier.event_id, max_uses=1)
        orders = [OrderFactory(tier=tier, code=mine) for mine in (code, code, None)]
        serve(session, tier)
        assert [order.stage for order in orders] == [OrderStage.HELD, OrderStage.CLOSED, OrderStage.HELD]

    @pytest.mark.parametrize("together", [True, False])
    def test_an_order_over_two_tiers_is_one_use(self, session, tier, together):
        other = TicketTierFactory(event=tier.event)
        code = CodeFactory(event_id=tier.event_id, max_uses=1)
        order = OrderFactory(contents={tier: 1, other: 2}, code=code)
        late = OrderFactory(tier=other, code=code)
        for tiers in ((tier, other),) if together else ((tier,), (other,)):
            serve(session, *tiers)
        assert (order.stage, late.stage) == (OrderStage.HELD, OrderStage.CLOSED)
        assert counters(session, code) == (1, 3)


class TestGivingBack:
    def test_a_hold_that_ends_lets_the_next_one_have_it(self, session, tier):
        code = CodeFactory(event_id=tier.event_id, max_uses=1, max_per_person=1)
        buyer = UserFactory()
        order = OrderFactory(tier=tier, code=code, user=buyer, stage=OrderStage.AWAITING_APPROVAL)
        close(session, lock_order(session, order.id), OrderReason.BUYER_CANCELLED, NOW)
        again = OrderFactory(tier=tier, code=code, user=buyer)
        serve(session, tier)
        assert again.stage is OrderStage.HELD
        assert counters(session, code) == (1, 1)

    def test_doubled_rings_change_nothing_twice(self, session, tier):
        code = CodeFactory(event_id=tier.event_id)
        kept, ended = (OrderFactory(tier=tier, code=code, stage=OrderStage.AWAITING_APPROVAL) for _ in range(2))
        close(session, lock_order(session, ended.id), OrderReason.DECLINED, NOW)
        for _ in range(3):
            serve(session, tier)
            assert counters(session, code) == (1, 1)
        wish(session, ended, InventoryState.RELEASED)
        wish(session, kept, InventoryState.SOLD)
        for _ in range(2):
            serve(session, tier)
            assert counters(session, code) == (1, 1)

    def test_tickets_that_are_refunded_go_back_one_by_one_and_the_use_with_the_last(self, session, tier):
        code = CodeFactory(event_id=tier.event_id)
        order = OrderFactory(tier=tier, quantity=3, code=code, stage=OrderStage.COMPLETE)
        for returned, counted in ((1, (1, 2)), (3, (0, 0))):
            session.execute(
                update(OrderItem)
                .where(OrderItem.order_id == order.id)
                .values(desired_state=InventoryState.SOLD, desired_returned=returned)
            )
            serve(session, tier)
            assert counters(session, code) == counted

    def test_the_use_of_two_tiers_goes_back_with_the_second(self, session, tier):
        other = TicketTierFactory(event=tier.event)
        code = CodeFactory(event_id=tier.event_id, max_uses=1)
        order = OrderFactory(contents={tier: 1, other: 1}, code=code, stage=OrderStage.AWAITING_APPROVAL)
        close(session, lock_order(session, order.id), OrderReason.BUYER_CANCELLED, NOW)
        serve(session, tier)
        assert counters(session, code) == (1, 1)
        serve(session, other)
        assert counters(session, code) == (0, 0)

    @pytest.mark.parametrize(("rivals", "state"), [(0, InventoryState.RESERVED), (1, InventoryState.RELEASED)])
    def test_a_late_payment_has_its_stock_again_only_if_the_code_is_left(self, session, tier, rivals, state):
        code = CodeFactory(event_id=tier.event_id, max_uses=1)
        order = OrderFactory(tier=tier, code=code, stage=OrderStage.CLOSED, reason=OrderReason.HOLD_EXPIRED)
        for _ in range(rivals):
            OrderFactory(tier=tier, code=code, stage=OrderStage.HELD)
        wish(session, order, InventoryState.RESERVED)
        serve(session, tier)
        assert session.scalar(select(OrderItem.inventory_state).filter_by(order_id=order.id)) is state
        assert counters(session, code) == (1, 1)


class TestRounds:
    def test_a_round_without_codes_asks_nothing_about_them(self, session, tier):
        code, asked = CodeFactory(event_id=tier.event_id), []
        OrderFactory(tier=tier)
        session.flush()
        listener = (session.connection(), "before_cursor_execute", lambda *args: asked.append(args[2]))
        event.listen(*listener)
        allocation.serve(session, tier.id, NOW, CLOCKS, batch=100)
        assert not [statement for statement in asked if "codes" in statement]
        OrderFactory(tier=tier, code=code)
        asked.clear()
        allocation.serve(session, tier.id, NOW, CLOCKS, batch=100)
        assert len([statement for statement in asked if "codes" in statement]) == 2
        event.remove(*listener)

    def test_what_differs_from_the_rows_is_found_and_counted_again(self, session, tier):
        code = CodeFactory(event_id=tier.event_id, max_uses=5)
        OrderFactory(tier=tier, quantity=2, code=code, stage=OrderStage.HELD)
        code.uses, code.tickets = 4, 4
        session.flush()
        [breach] = ALL_ARE_RIGHT.find(session, Scope([code.event_id], NOW, PATIENCE))
        assert (breach.id, breach.name, breach.can_heal) == (code.id, code.code, True)
        assert breach.fault == "4 uses and 4 tickets, by its rows 1 and 2"
        assert ALL_ARE_RIGHT.heal(session, code.id)
        assert counters(session, code) == (1, 2)

    def test_no_recount_is_tried_that_breaks_the_limit(self, session, tier):
        code = CodeFactory(event_id=tier.event_id, max_tickets=2)
        OrderFactory(tier=tier, quantity=2, code=code, stage=OrderStage.HELD)
        session.execute(update(OrderItem).values(quantity=3, subtotal=0))
        [breach] = ALL_ARE_RIGHT.find(session, Scope([code.event_id], NOW, PATIENCE))
        assert not breach.can_heal


def test_fifty_buyers_two_tiers_and_a_code_for_ten_orders(sessions):
    with sessions.begin() as session, bound_to(session):
        concert = EventFactory(capacity=1_000)
        tiers = [TicketTierFactory(event=concert, quantity=200) for _ in range(2)]
        code = CodeFactory(event_id=concert.id, max_uses=10)
        # Some want both tiers, so that the two consumers decide about the same orders, too.
        wanted = [{tiers[0]: 1}, {tiers[1]: 1}, {tiers[0]: 1, tiers[1]: 1}]
        for number in range(50):
            OrderFactory(contents=wanted[number % 3], code=code)
    start, failures = Barrier(2), []

    def consume(tier_id):
        start.wait()
        try:
            for _ in range(40):
                with sessions.begin() as session:
                    allocation.serve(session, tier_id, NOW, CLOCKS, batch=3)
        except Exception as error:  # noqa: BLE001 the test fails with it
            failures.append(error)

    consumers = [Thread(target=consume, args=(tier.id,)) for tier in tiers]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join(60)
    assert failures == []
    with sessions() as session:
        stages = dict(session.execute(select(Order.stage, func.count()).group_by(Order.stage)).all())
        held = session.get_one(Code, code.id)
        assert stages == {OrderStage.HELD: 10, OrderStage.CLOSED: 40}
        assert held.uses == 10
        assert ALL_ARE_RIGHT.find(session, Scope([concert.id], NOW, PATIENCE)) == []
        taken = session.execute(select(func.sum(TicketTier.reserved))).scalar_one()
        assert taken == held.tickets


def test_a_second_consumer_waits_for_the_code_and_sees_what_the_first_has_given(sessions, engine):
    with sessions.begin() as session, bound_to(session):
        concert = EventFactory()
        tiers = [TicketTierFactory(event=concert) for _ in range(2)]
        code = CodeFactory(event_id=concert.id, max_per_person=1)
        buyer = UserFactory()
        orders = [OrderFactory(tier=tier, user=buyer, code=code).id for tier in tiers]
    with sessions() as first:
        allocation.serve(first, tiers[0].id, NOW, CLOCKS, batch=10)
        second = Rival(engine, in_transaction(sessions, lambda session: serve(session, tiers[1])))
        second.until_it_waits()
        first.commit()
        second.join(20)
    with sessions() as session:
        assert [session.get_one(Order, id_).stage for id_ in orders] == [OrderStage.HELD, OrderStage.CLOSED]
        assert session.get_one(Code, code.id).tickets == 1
