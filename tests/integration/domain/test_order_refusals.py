from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from domain.errors import ConflictError, InvalidError, SoldOutError
from domain.models import Order
from domain.orders import Wish
from domain.rules.states import EventStatus
from tests.factories import EventFactory, TicketTierFactory, WaitlistFactory, bound_to
from tests.integration.domain.purchases import NOW, accept, purchase_of

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
