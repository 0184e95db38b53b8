from datetime import timedelta

import pytest
from sqlalchemy import select, text

from domain import tier_work
from domain.invariants import stock
from domain.invariants.breaches import OVERLAP, Scope
from domain.messages import ServeTier
from domain.models import Ticket
from domain.rules.states import EventStatus, OrderStage, TicketStatus
from tests.factories import CheckInScanFactory, DoorCountFactory, bound_to
from tests.integration.domain.invariants.conftest import PATIENCE
from tests.integration.market import until


@pytest.fixture
def sold(house):
    """Return an order that is sold, beside one that is held and one that has ended: nothing is broken yet."""
    order_id = house.confirmed(quantity=2)
    house.order(OrderStage.AWAITING_PAYMENT)
    house.closed()
    assert house.broken() == {}
    return order_id


class TestNeverOversold:
    def test_names_the_tier(self, house, sold):
        house.without("ticket_tiers", "ck_ticket_tiers_never_oversold")
        house.corrupt("UPDATE ticket_tiers SET quantity = 2 WHERE id = :id", id=house.tier_id)
        (breach,) = house.look()["never_oversold"]
        assert (breach.id, breach.name, breach.fault) == (
            house.tier_id,
            house.tier().name,
            "reserved 1 and sold 2 of 2",
        )
        assert (breach.can_heal, house.heal()) == (False, 0)


class TestCountersEqualRows:
    @pytest.mark.parametrize("change", ["reserved = reserved + 1", "sold = sold - 2", "reserved = 0, sold = 3"])
    def test_names_the_tier_and_its_consumer_counts_again(self, house, sold, change):
        house.corrupt(f"UPDATE ticket_tiers SET {change} WHERE id = :id", id=house.tier_id)
        (breach,) = house.look()["counters_equal_rows"]
        wrong = house.tier()
        assert breach.id == house.tier_id
        assert breach.fault == f"reserved {wrong.reserved} and sold {wrong.sold}, by its rows 1 and 2"
        assert house.heal() == 1
        assert (house.tier().reserved, house.tier().sold) == (wrong.reserved, wrong.sold), (
            "that is the consumer's alone"
        )
        assert house.announced == [ServeTier(house.tier_id)]
        house.serve()
        assert house.broken() == {}

    def test_seats_that_went_back_singly_are_not_counted(self, house, sold):
        house.corrupt("UPDATE order_items SET returned = 1 WHERE order_id = :id", id=sold)
        (breach,) = house.look()["counters_equal_rows"]
        assert breach.fault == "reserved 1 and sold 2, by its rows 1 and 1"

    def test_no_recount_is_asked_for_that_would_stop_the_tier(self, house, sold):
        house.corrupt("UPDATE ticket_tiers SET quantity = 2, reserved = 0 WHERE id = :id", id=house.tier_id)
        (breach,) = house.look()["counters_equal_rows"]
        assert (breach.can_heal, house.heal(), house.tier().recount_due) == (False, 0, False)


class TestFiguresEqualScans:
    def test_names_the_event(self, house, sold):
        with house.sessions.begin() as session, bound_to(session):
            ticket = session.scalars(select(Ticket).where(Ticket.order_id == sold)).first()
            ticket.status, ticket.checked_in_at = TicketStatus.USED, house.now
            CheckInScanFactory(ticket=ticket)
        (breach,) = house.look()["figures_equal_scans"]
        assert (breach.id, breach.fault) == (house.event_id, "0 inside by the figures, 1 by the scans")
        with house.sessions.begin() as session, bound_to(session):
            DoorCountFactory(event_id=house.event_id, tier_id=house.tier_id)
        assert house.broken() == {}


class TestTicketsWithinSold:
    def test_names_the_tier(self, house, sold):
        house.corrupt("UPDATE ticket_tiers SET sold = 1 WHERE id = :id", id=house.tier_id)
        (breach,) = house.look()["tickets_within_sold"]
        assert (breach.id, breach.fault) == (house.tier_id, "2 live tickets, sold 1 and to be sold 0")

    def test_what_is_about_to_be_sold_counts(self, house):
        house.confirmed()
        house.corrupt(
            "UPDATE order_items SET inventory_state = 'reserved', desired_state = 'sold' WHERE tier_id = :id",
            id=house.tier_id,
        )
        house.corrupt("UPDATE ticket_tiers SET sold = 0, reserved = 1 WHERE id = :id", id=house.tier_id)
        assert house.broken() == {}


class TestServedInSequence:
    @pytest.fixture
    def waiting(self, house):
        """Return an order that waits for hours, in a tier that is paused."""
        order_id = house.order()
        house.corrupt("UPDATE ticket_tiers SET is_paused = true WHERE id = :id", id=house.tier_id)
        return order_id

    def come_later(self, house, order_id, seconds):
        house.corrupt(
            "UPDATE orders SET created_at = now() + make_interval(secs => :seconds) WHERE id = :id",
            id=order_id,
            seconds=seconds,
        )

    @pytest.mark.parametrize("stage", [OrderStage.AWAITING_PAYMENT, OrderStage.COMPLETE, OrderStage.CLOSED])
    def test_names_the_order_that_was_passed_over(self, house, waiting, stage):
        later = house.order(stage, with_tickets=False, with_payment=False)
        self.come_later(house, later, OVERLAP.total_seconds() + 1)
        (breach,) = house.look(house.now + timedelta(minutes=2))["served_in_sequence"]
        assert breach.id == waiting
        with house.sessions() as session:
            number = session.scalar(text("SELECT number FROM orders WHERE id = :id"), {"id": later})
        assert number in breach.fault

    def test_requests_that_may_have_overlapped_are_in_no_sequence(self, house, waiting):
        later = house.order(OrderStage.AWAITING_PAYMENT)
        self.come_later(house, later, OVERLAP.total_seconds() - 1)
        assert house.broken(house.now + timedelta(minutes=2)) == {}

    def test_whoever_waits_behind_may_wait(self, house):
        house.order(OrderStage.AWAITING_PAYMENT)
        self.come_later(house, house.order(), 3600)
        assert "served_in_sequence" not in house.broken(house.now + timedelta(hours=2))

    def test_a_quarantined_order_that_was_put_back_was_overtaken_with_reason(self, house, waiting):
        self.come_later(house, house.order(OrderStage.AWAITING_PAYMENT), 3600)
        with house.sessions.begin() as session:
            session.execute(
                text("INSERT INTO order_timeline (order_id, kind) VALUES (:id, 'quarantined')"), {"id": waiting}
            )
        assert "served_in_sequence" not in house.broken(house.now + timedelta(minutes=2))


class TestLogIsWhole:
    @pytest.mark.parametrize(
        ("damage", "fault"),
        [
            ("DELETE FROM fairness_entries WHERE tier_id = :id AND position = 1", "has 1 entries up to 2"),
            ("DELETE FROM fairness_entries WHERE tier_id = :id AND position = 2", "has 1 entries up to 1"),
            ("UPDATE fairness_entries SET hash = commitment WHERE tier_id = :id AND position = 2", "ends otherwise"),
            ("UPDATE ticket_tiers SET fairness_position = 1 WHERE id = :id", "its head is at 1"),
        ],
    )
    def test_names_the_tier_whose_log_was_tampered_with(self, house, damage, fault):
        house.order()
        house.serve()
        assert house.broken() == {}
        house.corrupt(damage, id=house.tier_id)
        (breach,) = house.look()["log_is_whole"]
        assert (breach.id, breach.can_heal) == (house.tier_id, False)
        assert fault in breach.fault


class TestLinesMove:
    def test_names_the_tier_and_rings_for_it(self, house):
        order_id = house.order()
        later = house.now + PATIENCE + timedelta(seconds=10)
        assert house.broken() == {}
        (breach,) = house.look(later)["lines_move"]
        assert breach.id == house.tier_id
        house.heal(later)
        assert house.announced == [ServeTier(house.tier_id)]
        house.serve()
        assert house.item_of(order_id).inventory_state == "reserved"
        assert "lines_move" not in house.broken(later)

    def test_a_paused_tier_stands_on_purpose(self, house):
        house.order()
        house.corrupt("UPDATE ticket_tiers SET is_paused = true WHERE id = :id", id=house.tier_id)
        assert house.broken(house.now + timedelta(days=1)) == {}

    def test_one_that_was_resumed_a_moment_ago_has_not_stood_still(self, house):
        house.order()
        house.corrupt("UPDATE ticket_tiers SET updated_at = now() + interval '1 day' WHERE id = :id", id=house.tier_id)
        assert house.broken(house.now + timedelta(days=1)) == {}


class TestOneOwner:
    def faults(self, market, tier):
        (invariant,) = (each for each in stock.INVARIANTS if each.name == "one_owner")
        with market.sessions() as session:
            found = invariant.find(session, Scope([tier.event_id], tier.created_at, PATIENCE))
        assert {breach.id for breach in found} <= {tier.id}
        return [breach.fault for breach in found]

    def test_a_tier_without_an_owner_is_named_until_it_is_adopted(self, market):
        tier = market.tier()
        assert self.faults(market, tier) == ["0 sessions hold its lock"]
        market.own()
        until(lambda: self.faults(market, tier) == [])

    def test_two_sessions_that_share_the_lock_are_named(self, market, engine):
        tier = market.tier()
        share = text("SELECT pg_advisory_lock_shared(:key)")
        with engine.connect() as one, engine.connect() as other:
            for connection in (one, other):
                connection.execute(share, {"key": tier_work.lock_key(tier.id)})
            assert self.faults(market, tier) == ["2 sessions hold its lock"]
            for connection in (one, other):
                connection.execute(text("SELECT pg_advisory_unlock_all()"))
        assert self.faults(market, tier) == ["0 sessions hold its lock"]

    def test_a_draft_needs_none(self, market):
        assert self.faults(market, market.tier(event__status=EventStatus.DRAFT)) == []
