from dataclasses import replace
from datetime import timedelta

import pytest
from uuid_utils.compat import uuid7

from domain import line
from domain.line import Place, Pulse
from domain.rules.places import Outlook
from domain.rules.states import InventoryState, OrderStage
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, WaitlistFactory, bound_to
from tests.factories.base import from_now


@pytest.fixture(autouse=True)
def _rows(session):
    with bound_to(session):
        yield


def place_of(session, order_id):
    return line.place_of(line.find_spots(session, [order_id]))


def ahead(session, order):
    return place_of(session, order.id).ahead


class TestPlace:
    def test_the_head_of_the_line_has_nobody_ahead(self, session):
        place = place_of(session, OrderFactory().id)
        assert (place.ahead, place.position, place.is_paused) == (0, 1, False)

    def test_orders_with_lower_numbers_in_the_same_tier_are_ahead(self, session):
        tier = TicketTierFactory()
        orders = [OrderFactory(tier=tier) for _ in range(3)]
        OrderFactory()
        assert [ahead(session, order) for order in orders] == [0, 1, 2]

    def test_the_number_counts_not_the_moment_of_the_insert(self, session):
        tier = TicketTierFactory()
        late, early = OrderFactory(tier=tier, sequence=90), OrderFactory(tier=tier, sequence=80)
        assert (ahead(session, early), ahead(session, late)) == (0, 1)

    def test_only_those_who_still_wait_are_ahead(self, session):
        tier = TicketTierFactory()
        gone = [OrderFactory(tier=tier, stage=stage) for stage in (OrderStage.HELD, OrderStage.COMPLETE)]
        OrderFactory(tier=tier, stage=OrderStage.CLOSED)
        OrderFactory(tier=tier, stage=OrderStage.QUARANTINED)
        cancelled, last = OrderFactory(tier=tier), OrderFactory(tier=tier)
        assert ahead(session, last) == 1
        cancelled.items[0].desired_state = InventoryState.RELEASED
        session.flush()
        assert ahead(session, last) == 0
        assert place_of(session, cancelled.id) is None
        assert place_of(session, gone[0].id) is None

    def test_over_several_tiers_the_longest_line_counts(self, session):
        event = EventFactory()
        short, long = TicketTierFactory(event=event), TicketTierFactory(event=event)
        for _ in range(3):
            OrderFactory(tier=long)
        OrderFactory(tier=short)
        order = OrderFactory(contents={short: 1, long: 1})
        assert ahead(session, order) == 3

    def test_a_tier_that_served_the_order_counts_no_more(self, session):
        event = EventFactory()
        served, waiting = TicketTierFactory(event=event), TicketTierFactory(event=event)
        for _ in range(3):
            OrderFactory(tier=served)
        order = OrderFactory(contents={served: 1, waiting: 1}, stage=OrderStage.PARTLY_HELD)
        assert ahead(session, order) == 0

    def test_waiting_people_are_in_a_line_of_their_own(self, session):
        tier = TicketTierFactory()
        WaitlistFactory(tier=tier)
        assert ahead(session, OrderFactory(tier=tier)) == 0

    def test_the_time_is_known_once_the_tiers_pace_is(self, session):
        tier = TicketTierFactory(service_rate=2.0)
        orders = [OrderFactory(tier=tier) for _ in range(3)]
        assert [place_of(session, order.id).eta_seconds for order in orders] == [1, 1, 2]
        assert place_of(session, OrderFactory().id).eta_seconds is None

    def test_of_several_tiers_the_slowest_decides_the_time(self, session):
        event = EventFactory()
        fast, slow = (TicketTierFactory(event=event, service_rate=rate) for rate in (100.0, 0.5))
        for tier in (fast, fast, slow):
            OrderFactory(tier=tier)
        order = OrderFactory(contents={fast: 1, slow: 1})
        assert place_of(session, order.id).eta_seconds == 4

    def test_a_paused_tier_keeps_the_place_and_knows_no_time(self, session):
        tier = TicketTierFactory(service_rate=4.0, is_paused=True)
        OrderFactory(tier=tier)
        place = place_of(session, OrderFactory(tier=tier).id)
        assert place == Place(ahead=1, eta_seconds=None, is_paused=True, outlook=Outlook.COVERED)

    def test_nobody_is_counted_beyond_the_bound(self, session, monkeypatch):
        monkeypatch.setattr(line, "COUNTED", 2)
        tier = TicketTierFactory()
        orders = [OrderFactory(tier=tier) for _ in range(5)]
        assert [ahead(session, order) for order in orders] == [0, 1, 2, 2, 2]

    def test_a_tier_that_stands_still_knows_no_time(self, session):
        tier = TicketTierFactory(service_rate=4.0, decided_at=from_now(seconds=-30))
        order = OrderFactory(tier=tier)
        assert place_of(session, order.id).eta_seconds == 1
        order.created_at -= timedelta(seconds=20)
        session.flush()
        assert place_of(session, order.id).eta_seconds is None
        tier.decided_at = from_now(seconds=-2)
        session.flush()
        assert place_of(session, order.id).eta_seconds == 1


class TestOutlook:
    def outlooks(self, session, orders):
        return [place_of(session, order.id).outlook.value for order in orders]

    def test_it_counts_the_tickets_that_those_ahead_want(self, session):
        tier = TicketTierFactory(quantity=5)
        orders = [OrderFactory(tier=tier, quantity=quantity) for quantity in (2, 2, 2, 1)]
        assert self.outlooks(session, orders) == ["covered", "covered", "unlikely", "unlikely"]

    def test_what_is_reserved_may_come_back_and_what_is_sold_does_not(self, session):
        tier = TicketTierFactory(quantity=5)
        OrderFactory(tier=tier, quantity=3, stage=OrderStage.COMPLETE)
        OrderFactory(tier=tier, quantity=2, stage=OrderStage.AWAITING_PAYMENT)
        orders = [OrderFactory(tier=tier, quantity=quantity) for quantity in (2, 3)]
        assert self.outlooks(session, orders) == ["unlikely", "no"]

    def test_waiting_entries_with_lower_numbers_go_first(self, session):
        tier = TicketTierFactory(quantity=5)
        WaitlistFactory(tier=tier, quantity=3)
        orders = [OrderFactory(tier=tier, quantity=2)]
        WaitlistFactory(tier=tier, quantity=1)
        orders.append(OrderFactory(tier=tier))
        assert self.outlooks(session, orders) == ["covered", "unlikely"]

    @pytest.mark.parametrize(("skips", "expected"), [(True, "covered"), (False, "unlikely")])
    def test_a_group_that_does_not_fit_is_in_the_way_where_none_may_be_passed_over(self, session, skips, expected):
        tier = TicketTierFactory(quantity=2, event=EventFactory(skips_large_groups=skips))
        WaitlistFactory(tier=tier, quantity=4)
        assert self.outlooks(session, [OrderFactory(tier=tier)]) == [expected]

    def test_over_several_tiers_the_worst_counts(self, session):
        event = EventFactory()
        roomy, tight = TicketTierFactory(event=event), TicketTierFactory(event=event, quantity=1)
        OrderFactory(tier=tight)
        assert self.outlooks(session, [OrderFactory(contents={roomy: 1, tight: 1})]) == ["unlikely"]


class TestPulse:
    def test_an_unknown_order_has_none(self, session):
        assert line.take_pulse(session, uuid7()) is None

    def test_it_tells_version_stage_and_buyer(self, session):
        order = OrderFactory()
        assert line.take_pulse(session, order.id) == Pulse(order.user_id, 1, OrderStage.QUEUED)

    def test_it_tells_whether_the_order_itself_has_moved_wherever_it_stands(self, session):
        order = OrderFactory()
        before = line.take_pulse(session, order.id)
        assert not replace(before, place=Place(7, None, False, Outlook.COVERED)).has_moved_since(before)
        order.stage = OrderStage.HELD
        session.flush()
        assert line.take_pulse(session, order.id).has_moved_since(before)

    def test_the_tag_changes_with_the_order(self, session):
        order = OrderFactory(stage=OrderStage.HELD)
        before = line.take_pulse(session, order.id)
        assert line.take_pulse(session, order.id).tag == before.tag
        order.stage = OrderStage.AWAITING_PAYMENT
        session.flush()
        assert line.take_pulse(session, order.id).tag != before.tag

    @pytest.mark.parametrize(
        ("one", "another", "same"),
        [(8, 9, False), (42, 43, False), (120, 129, True), (129, 130, False), (12_345, 12_999, True), (0, 0, True)],
    )
    def test_in_a_long_line_the_tag_is_coarse(self, one, another, same):
        places = [Place(ahead, None, False, Outlook.COVERED) for ahead in (one, another)]
        tags = {Pulse(uuid7(), 3, OrderStage.QUEUED, place).tag for place in places}
        assert (len(tags) == 1) is same

    def test_the_tag_knows_a_pause_and_ignores_the_time(self):
        def tag(**values):
            place = {"ahead": 5, "eta_seconds": None, "is_paused": False, "outlook": Outlook.COVERED, **values}
            return Pulse(uuid7(), 3, OrderStage.QUEUED, Place(**place)).tag

        assert tag(eta_seconds=1.0) == tag(eta_seconds=2.0)
        assert tag(is_paused=True) != tag()
        assert len({tag(outlook=outlook) for outlook in Outlook}) == 3
