from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from domain.errors import BusyError, ConflictError, InvalidError, SoldOutError, TooManyWaitingError
from domain.models import Order
from domain.purchases import Wish
from domain.rules.states import EventStatus, OrderStage
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UserFactory, WaitlistFactory, bound_to
from tests.integration.domain.purchases import LIMITS, NOW, accept, purchase_of

HOUR = timedelta(hours=1)


@pytest.fixture
def rows(session):
    with bound_to(session):
        yield session


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "code", "pointer"),
        [
            ({"sale_starts_at": NOW + HOUR}, "sale-not-open", "/items/0"),
            ({"sale_starts_at": NOW - 2 * HOUR, "sale_ends_at": NOW - HOUR}, "sale-closed", "/items/0"),
            ({"is_active": False}, "sale-closed", "/items/0"),
            ({"is_draining": True}, "sale-draining", "/items/0"),
            ({"is_draining": True, "is_active": False}, "sale-closed", "/items/0"),
            ({"max_per_order": 2}, "limit-exceeded", "/items/0/quantity"),
            ({"min_per_order": 4}, "limit-exceeded", "/items/0/quantity"),
            ({"max_per_person": 2}, "limit-exceeded", "/items/0/quantity"),
            ({"quantity": 2}, "sold-out", "/items/0/quantity"),
            ({"quantity": 0}, "sold-out", "/items/0/quantity"),
        ],
    )
    def test_what_cannot_be_served_is_refused_and_nothing_stored(self, session, rows, values, code, pointer):
        tier = TicketTierFactory(**values)
        with pytest.raises(ConflictError) as refusal:
            accept(session, purchase_of((tier, 3)))
        assert (refusal.value.code, refusal.value.pointer) == (code, pointer)
        assert session.scalar(select(func.count()).select_from(Order)) == 0

    @pytest.mark.parametrize(
        ("event", "code"),
        [
            ({"status": EventStatus.CANCELLED}, "event-cancelled"),
            ({"status": EventStatus.COMPLETED}, "sale-closed"),
            ({"starts_at": NOW - 5 * HOUR}, "sale-closed"),
        ],
    )
    def test_events_that_no_longer_sell(self, session, rows, event, code):
        with pytest.raises(ConflictError) as refusal:
            accept(session, purchase_of((TicketTierFactory(event=EventFactory(**event)), 1)))
        assert refusal.value.code == code

    def test_sold_out_says_whose_waitlist_there_is(self, session, rows):
        tier = TicketTierFactory(quantity=0)
        with pytest.raises(SoldOutError) as refusal:
            accept(session, purchase_of((tier, 1)))
        assert refusal.value.event_id == tier.event_id

    def test_an_order_costs_no_more_than_one_payment_can_be(self, session, rows):
        event = EventFactory(fee_rate_bps=0, fee_fixed=0, tax_rate_bps=0)
        dear = TicketTierFactory(event=event, price=49_999_999, max_per_order=2)
        small, rest = (TicketTierFactory(event=event, price=price) for price in (1, 2))
        assert accept(session, purchase_of((dear, 2), (small, 1))).order_id
        with pytest.raises(ConflictError) as refusal:
            accept(session, purchase_of((dear, 2), (rest, 1)))
        assert refusal.value.code == "limit-exceeded"

    def test_what_waiting_people_would_take_is_sold_out_for_others(self, session, rows):
        tier = TicketTierFactory(quantity=2)
        WaitlistFactory(tier=tier, quantity=2)
        with pytest.raises(SoldOutError):
            accept(session, purchase_of((tier, 1)))

    def test_a_paused_tier_accepts(self, session, rows):
        assert accept(session, purchase_of((TicketTierFactory(is_paused=True), 1))).order_id

    @pytest.mark.parametrize("event", [{"status": EventStatus.DRAFT}, {"is_private": True}, {"deleted_at": NOW}])
    def test_tiers_that_nobody_may_know_of_do_not_exist(self, session, rows, event):
        with pytest.raises(InvalidError) as refusal:
            accept(session, purchase_of((TicketTierFactory(event=EventFactory(**event)), 1)))
        assert (refusal.value.code, refusal.value.pointer) == ("validation-failed", "/items/0/tier_id")

    def test_a_tier_of_another_event_is_refused_where_it_stands(self, session, rows):
        tier, foreign = TicketTierFactory(), TicketTierFactory()
        with pytest.raises(InvalidError) as refusal:
            accept(session, purchase_of((tier, 1), (foreign, 1)))
        assert refusal.value.pointer == "/items/1/tier_id"

    def test_an_unknown_tier_is_refused(self, session, rows):
        tier = TicketTierFactory()
        purchase = replace(purchase_of((tier, 1)), wishes=[Wish(uuid7(), 1)])
        with pytest.raises(InvalidError):
            accept(session, purchase)


class TestAdmission:
    """How many may wait, of all buyers and of one."""

    SMALL = replace(LIMITS, line_limit=4, line_stock_factor=2, line_spare=3)

    def test_who_comes_behind_more_than_could_be_served_is_told_so_and_nothing_is_stored(self, session, rows):
        tier = TicketTierFactory(quantity=2)
        orders = [OrderFactory(tier=tier, quantity=3) for _ in range(2)]
        assert accept(session, purchase_of((tier, 1)), self.SMALL).order_id
        with pytest.raises(SoldOutError) as refusal:
            accept(session, purchase_of((tier, 1)), self.SMALL)
        assert (refusal.value.event_id, refusal.value.pointer) == (tier.event_id, "/items/0/quantity")
        assert session.scalar(select(func.count()).select_from(Order)) == len(orders) + 1

    def test_once_those_ahead_have_left_others_are_let_in_again(self, session, rows):
        tier = TicketTierFactory(quantity=2)
        crowd = [OrderFactory(tier=tier, quantity=4) for _ in range(2)]
        with pytest.raises(SoldOutError):
            accept(session, purchase_of((tier, 1)), self.SMALL)
        crowd[0].items[0].desired_state = "released"
        session.flush()
        assert accept(session, purchase_of((tier, 1)), self.SMALL).order_id

    @pytest.mark.parametrize(("values", "seconds"), [({"service_rate": 0.1}, 4), ({}, 30), ({"is_paused": True}, 30)])
    def test_a_line_that_is_as_long_as_it_may_be_is_busy(self, session, rows, values, seconds):
        tier = TicketTierFactory(quantity=100, **values)
        for _ in range(4):
            OrderFactory(tier=tier)
        with pytest.raises(BusyError) as refusal:
            accept(session, purchase_of((tier, 1)), self.SMALL)
        assert (refusal.value.code, refusal.value.retry_after) == ("busy", pytest.approx(seconds))

    def test_a_purchase_that_was_accepted_before_is_answered_all_the_same(self, session, rows):
        tier = TicketTierFactory(quantity=100)
        purchase = purchase_of((tier, 1))
        first = accept(session, purchase, self.SMALL)
        for _ in range(4):
            OrderFactory(tier=tier)
        assert accept(session, purchase, self.SMALL) == replace(first, placement=None)

    def test_one_person_has_only_so_many_undecided_orders_for_an_event(self, session, rows):
        buyer, tier = UserFactory(), TicketTierFactory(service_rate=2.0)
        for stage in (OrderStage.QUEUED, OrderStage.HELD, OrderStage.COMPLETE):
            OrderFactory(tier=tier, user=buyer, stage=stage)
        limits = replace(LIMITS, waiting_orders_per_person=2)
        purchase = purchase_of((tier, 1), buyer=buyer.id)
        first = accept(session, purchase, limits)
        with pytest.raises(TooManyWaitingError) as refusal:
            accept(session, purchase_of((tier, 1), buyer=buyer.id), limits)
        assert (refusal.value.code, refusal.value.retry_after) == ("too-many-waiting", 1)
        # A repeated request, another event and another person are no reason to refuse.
        assert accept(session, purchase, limits) == replace(first, placement=None)
        assert accept(session, purchase_of((TicketTierFactory(), 1), buyer=buyer.id), limits).order_id
        assert accept(session, purchase_of((tier, 1)), limits).order_id

    def test_the_limit_per_person_can_be_switched_off(self, session, rows):
        buyer, tier = UserFactory(), TicketTierFactory()
        for _ in range(7):
            limits = replace(LIMITS, waiting_orders_per_person=0)
            assert accept(session, purchase_of((tier, 1), buyer=buyer.id), limits).placement
