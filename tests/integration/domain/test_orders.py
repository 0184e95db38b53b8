from collections import Counter
from dataclasses import replace
from datetime import timedelta
from threading import Thread

import pytest
from sqlalchemy import event as sql_event
from sqlalchemy import func, select, text, update

from domain import orders
from domain.errors import ConflictError, KeyReusedError
from domain.messages import ServeTier
from domain.models import Event, Order, OrderItem, TicketTier, TimelineEntry
from domain.purchases import Wish
from domain.rules.states import InventoryState, OrderStage, OrderStatus, PaymentStatus
from tests.factories import EventFactory, TicketTierFactory, UserFactory, bound_to
from tests.integration.domain.purchases import LIMITS, NOW, accept, arrival_of, purchase_of, read
from tests.integration.market import until

HOUR = timedelta(hours=1)


@pytest.fixture
def rows(session):
    with bound_to(session):
        yield session


class TestAccept:
    def test_takes_one_insert_statement_whatever_the_order_holds(self, session, rows):
        event = EventFactory()
        purchase = purchase_of((TicketTierFactory(event=event), 2), (TicketTierFactory(event=event), 1))
        arrival = arrival_of(session, purchase)
        statements = []
        sql_event.listen(session.connection(), "before_cursor_execute", lambda *args: statements.append(args[2]))
        orders.accept(session, [arrival], LIMITS)
        (statement,) = statements
        assert Counter(statement.split())["INSERT"] == 3

    def test_freezes_price_fees_and_tax_in_the_order(self, session, rows):
        event = EventFactory(fee_rate_bps=250, fee_fixed=50, tax_rate_bps=1900)
        tier = TicketTierFactory(event=event, price=4500)
        acceptance = accept(session, purchase_of((tier, 2)))
        session.execute(update(TicketTier).where(TicketTier.id == tier.id).values(price=1))
        session.execute(update(Event).where(Event.id == event.id).values(tax_rate_bps=0, fee_fixed=0))
        order = read(session, acceptance)
        # 2.5 % of 9000 and 2 x 50; 19 % of 9325, rounded half up.
        assert (order.currency, order.subtotal, order.fees, order.tax, order.total) == ("EUR", 9000, 325, 1772, 11097)
        (item,) = order.items
        assert (item.unit_price, item.quantity, item.subtotal, item.fees, item.tax) == (4500, 2, 9000, 325, 1772)

    def test_fees_that_the_promoter_absorbs_are_not_the_buyers(self, session, rows):
        tier = TicketTierFactory(event=EventFactory(absorbs_fees=True, tax_rate_bps=0), price=1000)
        order = read(session, accept(session, purchase_of((tier, 1))))
        assert (order.total, order.fees, order.absorbed_fees) == (1000, 0, 75)

    def test_a_new_order_waits_in_its_tiers_line(self, session, rows, announced):
        tier = TicketTierFactory()
        acceptance = accept(session, purchase_of((tier, 2), request_id="r-1"))
        session.commit()
        order = read(session, acceptance)
        assert not acceptance.replayed
        assert (order.stage, order.status, order.payment_status) == (
            OrderStage.QUEUED,
            OrderStatus.PENDING,
            PaymentStatus.PENDING,
        )
        assert order.number == f"TV-{order.sequence:08}"
        assert order.request_id == "r-1"
        assert [entry.kind for entry in order.timeline] == ["accepted"]
        assert [(item.inventory_state, item.desired_state) for item in order.items] == [(InventoryState.QUEUED, None)]
        assert announced == [ServeTier(tier.id)]
        session.refresh(tier)
        assert (tier.reserved, tier.sold) == (0, 0)

    def test_every_tier_has_an_item_with_the_orders_number_and_is_rung(self, session, rows, announced):
        event = EventFactory()
        dear, cheap = TicketTierFactory(event=event, price=5000), TicketTierFactory(event=event, price=100)
        acceptance = accept(session, purchase_of((dear, 1), (cheap, 3)))
        session.commit()
        order = read(session, acceptance)
        assert {(item.tier_id, item.quantity, item.sequence) for item in order.items} == {
            (dear.id, 1, order.sequence),
            (cheap.id, 3, order.sequence),
        }
        assert order.subtotal == 5300
        assert order.fees == sum(item.fees for item in order.items)
        assert set(announced) == {ServeTier(dear.id), ServeTier(cheap.id)}

    def test_later_requests_have_higher_numbers(self, session, rows):
        tier = TicketTierFactory()
        first, second = (read(session, accept(session, purchase_of((tier, 1)))) for _ in range(2))
        assert first.sequence < second.sequence

    def test_attendees_and_billing_are_kept(self, session, rows):
        tier = TicketTierFactory()
        attendees = [{"name": "Ada", "email": "ada@example.com"}, {"name": 'B"o'}]
        purchase = replace(
            purchase_of((tier, 2), billing_name="Ada Ltd", billing_email="bills@example.com"),
            wishes=[Wish(tier.id, 2, attendees)],
            billing_address={"city": "Århus", "country": "DK"},
        )
        order = read(session, accept(session, purchase))
        assert order.items[0].attendees == attendees
        assert (order.billing_name, order.billing_email) == ("Ada Ltd", "bills@example.com")
        assert order.billing_address == {"city": "Århus", "country": "DK"}

    def test_without_them_the_columns_are_null(self, session, rows):
        acceptance = accept(session, purchase_of((TicketTierFactory(), 1)))
        order = select(Order.id).where(Order.id == acceptance.order_id, Order.billing_address.is_(None))
        item = select(OrderItem.id).where(OrderItem.order_id == acceptance.order_id, OrderItem.attendees.is_(None))
        assert session.scalar(order) is not None
        assert session.scalar(item) is not None


class TestReplay:
    def test_the_same_purchase_is_answered_with_the_first_order(self, session, rows, announced):
        purchase = purchase_of((TicketTierFactory(), 1))
        first = accept(session, purchase)
        session.commit()
        announced.clear()
        second = accept(session, purchase)
        session.commit()
        assert (second.order_id, second.replayed) == (first.order_id, True)
        assert session.scalar(select(func.count()).select_from(Order)) == 1
        assert session.scalar(select(func.count()).select_from(TimelineEntry)) == 1
        assert announced == []

    def test_a_key_with_another_payload_is_refused(self, session, rows):
        purchase = purchase_of((TicketTierFactory(), 1))
        accept(session, purchase)
        with pytest.raises(KeyReusedError) as refusal:
            accept(session, replace(purchase, fingerprint="e" * 64))
        assert refusal.value.code == "idempotency-key-reused"

    def test_keys_belong_to_their_user(self, session, rows):
        purchase = purchase_of((TicketTierFactory(), 1))
        first = accept(session, purchase)
        second = accept(session, replace(purchase, buyer_id=UserFactory().id))
        assert not second.replayed
        assert second.order_id != first.order_id

    @pytest.mark.parametrize(
        "change",
        [
            {"quantity": 0},
            {"sale_starts_at": NOW - 2 * HOUR, "sale_ends_at": NOW - HOUR},
            {"is_active": False},
            {"max_per_order": 1},
        ],
    )
    def test_a_purchase_that_would_be_refused_by_now_is_replayed_all_the_same(self, session, rows, change):
        tier = TicketTierFactory()
        purchase = purchase_of((tier, 2))
        first = accept(session, purchase)
        session.execute(update(TicketTier).where(TicketTier.id == tier.id).values(**change))
        with pytest.raises(ConflictError):
            accept(session, replace(purchase, idempotency_key="new"))
        assert accept(session, purchase) == replace(first, placement=None)
        with pytest.raises(KeyReusedError):
            accept(session, replace(purchase, fingerprint="e" * 64))

    def test_the_loser_of_a_race_waits_for_the_winner_and_answers_its_order(self, sessions, engine):
        with sessions.begin() as session, bound_to(session):
            purchase = purchase_of((TicketTierFactory(), 1))
        answers = []

        def lose():
            with sessions.begin() as session:
                answers.append(accept(session, purchase))

        with sessions() as winner:
            first = accept(winner, purchase)
            loser = Thread(target=lose)
            loser.start()
            until(lambda: waiting_backends(engine) == 1)
            assert answers == []
            winner.commit()
        loser.join(10)
        assert answers == [replace(first, placement=None)]

    def test_the_loser_takes_the_place_of_a_winner_that_failed(self, sessions, engine):
        with sessions.begin() as session, bound_to(session):
            purchase = purchase_of((TicketTierFactory(), 1))
        answers = []

        def lose():
            with sessions.begin() as session:
                answers.append(accept(session, purchase))

        with sessions() as winner:
            first = accept(winner, purchase)
            loser = Thread(target=lose)
            loser.start()
            until(lambda: waiting_backends(engine) == 1)
            winner.rollback()
        loser.join(10)
        (second,) = answers
        assert not second.replayed
        assert second.order_id != first.order_id


def waiting_backends(engine):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def test_accepting_does_not_wait_for_the_tiers_consumer(sessions):
    with sessions.begin() as session, bound_to(session):
        tier = TicketTierFactory()
        purchase = purchase_of((tier, 1))
    with sessions() as consumer, sessions() as session:
        consumer.execute(select(Event.id).where(Event.id == tier.event_id).with_for_update(read=True))
        consumer.execute(select(TicketTier.id).where(TicketTier.id == tier.id).with_for_update(key_share=True))
        consumer.execute(update(TicketTier).where(TicketTier.id == tier.id).values(reserved=1))
        session.execute(text("SET LOCAL lock_timeout = '200ms'"))
        acceptance = accept(session, purchase)
        session.commit()
        assert not acceptance.replayed
