from dataclasses import replace

import pytest
from uuid_utils.compat import uuid7

from domain import line
from domain.line import Place, Pulse
from domain.rules.states import InventoryState, OrderStage
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, WaitlistFactory, bound_to


@pytest.fixture(autouse=True)
def _rows(session):
    with bound_to(session):
        yield


def place_of(session, order_id):
    return line.place_of(line.find_spots(session, order_id))


def find_place(session, order_id):
    return line.place_of(line.find_spots(session, order_id))


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
        tier = TicketTierFactory(service_rate=4.0)
        orders = [OrderFactory(tier=tier) for _ in range(3)]
        assert [place_of(session, order.id).eta_seconds for order in orders] == [0, 0.25, 0.5]
        assert place_of(session, OrderFactory().id).eta_seconds is None

    def test_of_several_tiers_the_slowest_decides_the_time(self, session):
        event = EventFactory()
        fast, slow = (TicketTierFactory(event=event, service_rate=rate) for rate in (100.0, 0.5))
        for tier in (fast, fast, slow):
            OrderFactory(tier=tier)
        order = OrderFactory(contents={fast: 1, slow: 1})
        assert place_of(session, order.id).eta_seconds == 2.0

    def test_a_paused_tier_keeps_the_place_and_knows_no_time(self, session):
        tier = TicketTierFactory(service_rate=4.0, is_paused=True)
        OrderFactory(tier=tier)
        place = place_of(session, OrderFactory(tier=tier).id)
        assert place == Place(ahead=1, eta_seconds=None, is_paused=True)


def tag_of(session, order):
    return replace(line.take_pulse(session, order.id), place=place_of(session, order.id)).tag


class TestWholeLine:
    def test_nobody_is_counted_beyond_the_bound(self, session, monkeypatch):
        monkeypatch.setattr(line, "COUNTED", 2)
        tier = TicketTierFactory()
        orders = [OrderFactory(tier=tier) for _ in range(5)]
        assert [ahead(session, order) for order in orders] == [0, 1, 2, 2, 2]

    def test_a_line_is_read_as_the_numbers_of_all_who_wait(self, session):
        tier = TicketTierFactory()
        late, early = OrderFactory(tier=tier, sequence=2**40), OrderFactory(tier=tier, sequence=7)
        OrderFactory(tier=tier, stage=OrderStage.HELD)
        OrderFactory(tier=tier).items[0].desired_state = InventoryState.RELEASED
        session.flush()
        assert list(line.read_line(session, tier.id)) == [early.sequence, late.sequence]
        assert list(line.read_line(session, uuid7())) == []

    def test_those_between_two_numbers_are_counted(self, session):
        tier = TicketTierFactory()
        for sequence in (10, 20, 30, 40):
            OrderFactory(tier=tier, sequence=sequence)
        assert line.count_between(session, tier.id, 10, 40) == 2
        assert line.count_between(session, tier.id, 40, 90) == 0


class TestLongLines:
    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch):
        monkeypatch.setattr(line, "COUNTED", 3)

    def test_are_counted_only_so_far(self, session):
        tier = TicketTierFactory()
        orders = [OrderFactory(tier=tier) for _ in range(5)]
        assert [ahead(session, order) for order in orders] == [0, 1, 2, 3, 3]

    def test_are_read_as_a_whole_in_their_order(self, session):
        tier = TicketTierFactory()
        numbers = [5, 2**40, 1, 2**62]
        for number in numbers:
            OrderFactory(tier=tier, sequence=number)
        OrderFactory(tier=tier, stage=OrderStage.HELD)
        OrderFactory()
        assert list(line.read_line(session, tier.id)) == sorted(numbers)

    def test_may_be_empty(self, session):
        assert list(line.read_line(session, TicketTierFactory().id)) == []

    def test_tell_who_waits_between_two_numbers(self, session):
        tier = TicketTierFactory()
        for number in (10, 20, 30, 40):
            OrderFactory(tier=tier, sequence=number)
        OrderFactory(tier=tier, sequence=25, stage=OrderStage.HELD)
        assert line.count_between(session, tier.id, 10, 40) == 2
        assert line.count_between(session, tier.id, 0, 41) == 4


class TestPulse:
    def test_an_unknown_order_has_none(self, session):
        assert line.take_pulse(session, uuid7()) is None

    def test_it_tells_version_stage_and_buyer(self, session):
        order = OrderFactory()
        assert line.take_pulse(session, order.id) == Pulse(order.user_id, 1, OrderStage.QUEUED)

    def test_it_tells_whether_the_order_itself_has_moved_wherever_it_stands(self, session):
        order = OrderFactory()
        before = line.take_pulse(session, order.id)
        assert not replace(before, place=Place(7, None, False)).has_moved_since(before)
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
        tags = {Pulse(uuid7(), 3, OrderStage.QUEUED, Place(n, None, False)).tag for n in (one, another)}
        assert (len(tags) == 1) is same

    def test_the_tag_knows_a_pause_and_ignores_the_time(self):
        def tag(**values):
            return Pulse(uuid7(), 3, OrderStage.QUEUED, Place(**{"ahead": 5, "is_paused": False, **values})).tag

        assert tag(eta_seconds=1.0) == tag(eta_seconds=2.0)
        assert tag(eta_seconds=None, is_paused=True) != tag(eta_seconds=None)
