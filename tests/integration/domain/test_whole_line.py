import pytest
from uuid_utils.compat import uuid7

from domain import whole_line
from domain.allocation import quarantine, serve
from domain.rules.states import InventoryState, OrderStage
from domain.whole_line import Crowd
from tests.factories import OrderFactory, TicketTierFactory, bound_to
from tests.factories.base import from_now
from tests.integration.market import CLOCKS


@pytest.fixture(autouse=True)
def _rows(session, monkeypatch):
    monkeypatch.setattr(whole_line, "IN_FLIGHT", 0)
    with bound_to(session):
        yield


@pytest.fixture
def tier():
    return TicketTierFactory()


def join(tier, *numbers, **values):
    return [OrderFactory(tier=tier, sequence=number, **values) for number in numbers]


def cancel(session, order):
    order.items[0].desired_state = InventoryState.RELEASED
    session.flush()


class TestReading:
    def test_takes_all_who_wait_in_their_order_with_what_they_want(self, session, tier):
        join(tier, 2**40)
        join(tier, 7, quantity=3)
        join(tier, 8, stage=OrderStage.HELD)
        line = whole_line.read(session, tier.id)
        assert list(line.sequences) == [7, 2**40]
        assert list(line.totals) == [0, 3, 4]

    def test_who_has_cancelled_waits_until_the_consumer_has_taken_the_order_out(self, session, tier):
        (order,) = join(tier, 7)
        cancel(session, order)
        assert list(whole_line.read(session, tier.id).sequences) == [7]
        serve(session, tier.id, from_now(), CLOCKS, batch=100)
        assert list(whole_line.read(session, tier.id).sequences) == []

    def test_a_line_may_be_empty_and_a_tier_unknown(self, session, tier):
        assert whole_line.read(session, tier.id).between(0, 2**62) == Crowd(0, 0)
        assert whole_line.read(session, uuid7()).between(0, 2**62) == Crowd(0, 0)

    def test_leaves_out_the_numbers_among_which_somebody_may_still_turn_up(self, session, tier, monkeypatch):
        monkeypatch.setattr(whole_line, "IN_FLIGHT", 10)
        join(tier, 5, 20, 25, 30)
        line = whole_line.read(session, tier.id)
        assert (list(line.sequences), line.settled_until) == ([5, 20], 20)


class TestPlaces:
    def test_are_between_what_is_decided_and_a_number(self, session, tier):
        join(tier, 10, 20, 30, 40, quantity=2)
        line = whole_line.read(session, tier.id)
        assert line.between(0, 40) == Crowd(3, 6)
        assert line.between(20, 40) == Crowd(1, 2)
        assert line.between(25, 41) == Crowd(2, 4)
        assert line.between(40, 10) == Crowd(0, 0)

    def test_do_not_count_those_who_have_left_undecided(self, session, tier):
        join(tier, 10, 20, 30, 40, quantity=2)
        line = whole_line.read(session, tier.id).without([20, 25, 40], withdrawn=3)
        assert line.between(0, 40) == Crowd(2, 4)
        assert line.between(0, 41) == Crowd(2, 4)
        assert line.between(20, 40) == Crowd(1, 2)
        assert line.withdrawn == 3


class TestWithdrawals:
    def test_the_consumer_numbers_those_who_leave_the_line_undecided(self, session, tier):
        tier.is_paused = True
        orders = join(tier, 10, 20, 30, 40)
        items = [order.items[0] for order in orders]
        line = whole_line.read(session, tier.id)
        for order in (orders[2], orders[0]):
            cancel(session, order)
        serve(session, tier.id, from_now(), CLOCKS, batch=100)
        session.expire_all()
        assert tier.withdrawn == 2
        assert [item.withdrawal for item in items] == [1, None, 2, None]
        now = whole_line.bring_up_to_date(session, tier.id, line)
        assert (now.between(0, 40), now.withdrawn) == (Crowd(1, 1), 2)
        assert whole_line.bring_up_to_date(session, tier.id, now) is now

    def test_who_was_served_has_not_left_undecided(self, session, tier):
        (order,) = join(tier, 10)
        item = order.items[0]
        serve(session, tier.id, from_now(), CLOCKS, batch=100)
        cancel(session, order)
        serve(session, tier.id, from_now(), CLOCKS, batch=100)
        session.expire_all()
        assert (item.inventory_state, item.withdrawal) == (InventoryState.RELEASED, None)
        assert tier.withdrawn == 0

    def test_who_is_set_aside_has_left_undecided(self, session, tier):
        tier.is_paused = True
        first, _ = join(tier, 10, 20)
        line = whole_line.read(session, tier.id)
        item = first.items[0]
        quarantine(session, item.id, from_now())
        session.expire_all()
        assert (tier.withdrawn, item.withdrawal) == (1, 1)
        assert whole_line.bring_up_to_date(session, tier.id, line).between(0, 20) == Crowd(0, 0)

    def test_a_line_of_which_too_many_left_is_to_be_read_again(self, session, tier, monkeypatch):
        monkeypatch.setattr(whole_line, "WITHDRAWALS_READ", 2)
        tier.is_paused = True
        orders = join(tier, 10, 20, 30)
        line = whole_line.read(session, tier.id)
        for order in orders[:2]:
            cancel(session, order)
        serve(session, tier.id, from_now(), CLOCKS, batch=100)
        assert whole_line.bring_up_to_date(session, tier.id, line) is None


class TestProgress:
    def test_the_consumer_notes_how_far_it_has_decided(self, session, tier):
        join(tier, 10, 20, 30)
        now = from_now()
        serve(session, tier.id, now, CLOCKS, batch=2)
        session.refresh(tier)
        assert (tier.decided_until, tier.decided_at) == (20, now)

    def test_who_turns_up_late_does_not_turn_it_back(self, session, tier):
        join(tier, 30)
        serve(session, tier.id, from_now(), CLOCKS, batch=10)
        join(tier, 20)
        serve(session, tier.id, from_now(), CLOCKS, batch=10)
        session.refresh(tier)
        assert tier.decided_until == 30


def test_those_between_two_numbers_are_counted(session, tier):
    orders = join(tier, 10, 20, 30, 40, quantity=2)
    join(tier, 25, stage=OrderStage.HELD)
    cancel(session, orders[1])
    assert whole_line.count_between(session, tier.id, 10, 40) == Crowd(2, 4)
    assert whole_line.count_between(session, tier.id, 0, 41) == Crowd(4, 8)
    assert whole_line.count_between(session, tier.id, 40, 90) == Crowd(0, 0)
