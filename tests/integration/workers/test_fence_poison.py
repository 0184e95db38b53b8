import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from domain.models import TicketTier, Waitlist
from domain.rules.states import OrderStage, WaitlistStatus
from tests.factories import WaitlistFactory, bound_to
from tests.integration.market import is_served, until


@pytest.fixture
def poison(market):
    """Return a function that makes the database refuse whatever touches an order's items."""

    def poison(order_id, states="'reserved'"):
        market.as_owner(
            "CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.inventory_state IN ({states}) THEN RAISE EXCEPTION 'poison'; END IF;"
            " RETURN NEW; END $$"
        )
        market.as_owner(
            "CREATE TRIGGER poison BEFORE UPDATE ON order_items FOR EACH ROW"
            f" WHEN (OLD.order_id = '{order_id}') EXECUTE FUNCTION refuse_poison()"
        )

    yield poison
    market.close()
    market.as_owner("DROP FUNCTION IF EXISTS refuse_poison() CASCADE")


class TestPoison:
    def test_one_order_is_set_aside_and_its_neighbours_are_served_in_sequence(self, market, poison):
        tier = market.tier(quantity=5)
        order_ids = market.orders(tier, 7)
        poison(order_ids[2])
        with capture_logs() as logs:
            market.own()
            expected = ["held", "held", "quarantined", "held", "held", "held", "closed"]
            until(lambda: market.stages(order_ids) == expected)
        assert market.counters(tier) == (5, 0)
        (alarm,) = [entry for entry in logs if entry["event"] == "order.quarantined"]
        assert (alarm["order_id"], alarm["log_level"]) == (str(order_ids[2]), "critical")
        assert "poison" in alarm["error"]

    def test_the_tiers_that_shared_its_round_are_served(self, market, poison):
        tiers = [market.tier() for _ in range(3)]
        order_ids = [order_id for tier in tiers for order_id in market.orders(tier, 2)]
        poison(order_ids[2])
        with capture_logs() as logs:
            market.own()
            until(lambda: market.stages(order_ids) == ["held", "held", "quarantined", "held", "held", "held"])
        assert [market.counters(tier) for tier in tiers] == [(2, 0), (1, 0), (2, 0)]
        events = [entry["event"] for entry in logs]
        assert events.count("allocation.parted") == 1
        assert events.count("allocation.failed") == 1

    def test_the_log_does_not_repeat_what_the_statement_held(self, market, poison):
        tier = market.tier()
        order_ids = market.orders(tier, 2)
        poison(order_ids[0])
        with capture_logs() as logs:
            market.own()
            until(lambda: market.stages(order_ids) == ["quarantined", "held"])
        assert not [entry for entry in logs if "[SQL:" in str(entry.get("error"))]

    def test_an_order_that_cannot_even_be_set_aside_holds_nobody_up(self, market, poison):
        tier, other = market.tier(), market.tier()
        order_ids = market.orders(tier, 3)
        poison(order_ids[1], states="'reserved', 'quarantined'")
        with capture_logs() as logs:
            owner = market.own()
            until(lambda: market.stages(order_ids) == ["held", "queued", "held"])
        elsewhere = market.orders(other)
        until(is_served(market, elsewhere))
        assert owner.owned == {tier.id, other.id}
        assert "quarantine.failed" in [entry["event"] for entry in logs]

    def test_a_tier_that_fails_without_any_order_quarantines_nobody(self, market):
        tier = market.tier(quantity=2)
        held = market.orders(tier, 2, stage=OrderStage.HELD)
        waiting = market.orders(tier, 3)
        market.as_owner(
            "ALTER TABLE ticket_tiers DROP CONSTRAINT ck_ticket_tiers_never_oversold;"
            "UPDATE ticket_tiers SET reserved = 0, quantity = 1, recount_due = true;"
            "ALTER TABLE ticket_tiers ADD CONSTRAINT ck_ticket_tiers_never_oversold CHECK (sold + reserved <= quantity)"
        )
        with capture_logs() as logs:
            market.own()
            until(lambda: len([entry for entry in logs if entry["event"] == "allocation.failed"]) > 1)
        assert market.stages(waiting) == ["queued"] * 3
        assert market.stages(held) == ["held"] * 2

    def test_a_lock_held_by_somebody_else_postpones_and_quarantines_nobody(self, market):
        tier = market.tier()
        order_ids = market.orders(tier, 2)
        with capture_logs() as logs, market.sessions() as session:
            session.execute(select(TicketTier.id).where(TicketTier.id == tier.id).with_for_update())
            owner = market.own()
            until(lambda: "allocation.postponed" in [entry["event"] for entry in logs])
            assert market.stages(order_ids) == ["queued"] * 2
            assert tier.id in owner.owned
            session.rollback()
            until(is_served(market, order_ids))
        assert not {"allocation.failed", "order.quarantined", "fence.lost"} & {entry["event"] for entry in logs}

    def test_nobody_on_the_waitlist_overtakes_the_line_while_it_is_searched(self, market, poison):
        tier = market.tier(quantity=3)
        order_ids = market.orders(tier, 4)
        with market.sessions.begin() as session, bound_to(session):
            entry = WaitlistFactory(tier=session.get_one(TicketTier, tier.id))
        poison(order_ids[0])
        market.own()
        until(lambda: market.stages(order_ids) == ["quarantined", "held", "held", "held"])
        with market.sessions() as session:
            assert session.get_one(Waitlist, entry.id).status is WaitlistStatus.WAITING
