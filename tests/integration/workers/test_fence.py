import threading
import time

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from adapters.clock import SystemClock
from domain import allocation, allocation_records, tier_work
from domain.models import TicketTier
from domain.rules.states import OrderStage
from tests.integration.market import SILENCE, until
from workers import fence


class StoppedClock(SystemClock):
    """A clock that holds up whoever asks for the time, as SIGSTOP would, until it is let go."""

    def __init__(self):
        self.is_asked, self.may_go = threading.Event(), threading.Event()

    def now(self):
        self.is_asked.set()
        assert self.may_go.wait(30)
        return super().now()


def is_served(market, order_ids, stage="held"):
    def is_served():
        return market.stages(order_ids) == [stage] * len(order_ids)

    return is_served


class TestServing:
    def test_serves_on_a_ring(self, market, monkeypatch):
        monkeypatch.setattr(fence, "LOOK_SECONDS", 1.9)
        tier = market.tier()
        owner = market.own()
        until(lambda: tier.id in owner.owned)
        order_ids = market.orders(tier)
        started = time.monotonic()
        owner.ring(tier.id)
        until(is_served(market, order_ids))
        assert time.monotonic() - started < 1.5

    def test_serves_what_nobody_rang_for(self, market):
        tier = market.tier()
        order_ids = market.orders(tier, 3)
        market.own()
        until(is_served(market, order_ids))
        assert market.counters(tier) == (3, 0)

    def test_a_ring_for_a_strangers_tier_is_dropped(self, market):
        tier = market.tier()
        first = market.own()
        until(lambda: tier.id in first.owned)
        second = market.own()
        second.ring(tier.id)
        assert not second._rung

    def test_serves_batch_after_batch_until_nothing_waits(self, market):
        tier = market.tier(quantity=5)
        order_ids = market.orders(tier, 8)
        market.own(batch=3)
        until(lambda: market.stages(order_ids) == ["held"] * 5 + ["closed"] * 3)

    def test_measures_how_fast_it_serves_for_the_buyers_sake(self, market):
        tier = market.tier()
        market.orders(tier, 4)
        market.own(batch=1)

        def is_measured():
            with market.sessions() as session:
                return (session.get_one(TicketTier, tier.id).service_rate or 0) > 0

        until(is_measured)

    def test_time_slices_alternate_between_two_long_lines(self, market, monkeypatch):
        tiers = [market.tier(), market.tier()]
        order_ids = {tier.id: market.orders(tier, 6) for tier in tiers}
        turns = []
        serving = allocation.serve

        def serve(session, tier_id, *args, **options):
            turns.append(tier_id)
            return serving(session, tier_id, *args, **options)

        monkeypatch.setattr(allocation, "serve", serve)
        market.own(batch=1, slice_seconds=0.000001)
        for tier in tiers:
            until(is_served(market, order_ids[tier.id]))
        first_twelve = turns[:12]
        assert [first_twelve.count(tier.id) for tier in tiers] == [6, 6]
        assert all(one != next_one for one, next_one in zip(first_twelve, first_twelve[1:], strict=False))

    def test_a_paused_tier_is_owned_and_waits(self, market):
        paused, other = market.tier(is_paused=True), market.tier()
        waiting, served = market.orders(paused), market.orders(other)
        owner = market.own()
        until(is_served(market, served))
        assert owner.owned == {paused.id, other.id}
        assert market.stages(waiting) == ["queued"]
        with market.sessions.begin() as session:
            session.execute(update(TicketTier).where(TicketTier.id == paused.id).values(is_paused=False))
        until(is_served(market, waiting))


class TestOwning:
    def test_two_owners_never_both_own_a_tier(self, market):
        tiers = {market.tier().id for _ in range(5)}
        first, second = market.own(), market.own()
        until(lambda: first.owned | second.owned == tiers)
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            assert not first.owned & second.owned
            time.sleep(0.01)

    def test_the_tiers_of_an_owner_that_ends_are_taken_over(self, market):
        tier = market.tier()
        first = market.own()
        until(lambda: tier.id in first.owned)
        second = market.own()
        first.stop(5)
        assert first.owned == frozenset()
        until(lambda: tier.id in second.owned, seconds=5)
        order_ids = market.orders(tier)
        until(is_served(market, order_ids))

    def test_a_killed_connection_drops_the_tiers_which_are_taken_again(self, market):
        tier = market.tier()
        owner = market.own()
        until(lambda: tier.id in owner.owned)
        (backend,) = market.backends_owning(tier)
        with capture_logs() as logs:
            market.as_superuser("SELECT pg_terminate_backend(:pid)", pid=backend)
            until(lambda: market.backends_owning(tier) not in ([], [backend]))
        assert "fence.lost" in [entry["event"] for entry in logs]
        order_ids = market.orders(tier)
        until(is_served(market, order_ids))
        assert owner.is_alive()

    def test_whatever_goes_wrong_the_owner_goes_on(self, market, monkeypatch):
        finding = tier_work.find_wanted
        trouble = iter([RuntimeError("a defect of ours")])

        def find_wanted(session):
            for error in trouble:
                raise error
            return finding(session)

        monkeypatch.setattr(tier_work, "find_wanted", find_wanted)
        order_ids = market.orders(market.tier())
        owner = market.own()
        until(is_served(market, order_ids))
        assert owner.is_alive()

    def test_a_tier_whose_head_does_not_move_is_given_up_to_somebody_else(self, market, monkeypatch):
        monkeypatch.setattr(fence, "STUCK_SECONDS", 1.0)
        tier, healthy = market.tier(), market.tier()
        order_ids = market.orders(tier)
        monkeypatch.setattr(fence.TierOwner, "_serve_slice", lambda self, sessions, tier_id: False)
        stuck = market.own()
        until(lambda: tier.id in stuck.owned)
        with capture_logs() as logs:
            until(lambda: tier.id not in stuck.owned)
        assert {"event": "fence.stuck", "tier_id": str(tier.id), "log_level": "error"} in logs
        assert healthy.id in stuck.owned
        monkeypatch.undo()
        other = market.own()
        until(lambda: tier.id in other.owned)
        until(is_served(market, order_ids))

    def test_a_tier_that_is_over_and_done_is_let_go(self, market):
        tier = market.tier()
        owner = market.own()
        until(lambda: tier.id in owner.owned)
        market.as_owner("UPDATE events SET status = 'completed'")
        until(lambda: owner.owned == frozenset())
        assert market.backends_owning(tier) == []


class TestSilence:
    def test_an_owner_that_falls_silent_between_two_rounds_loses_its_tiers(self, market):
        tier = market.tier()
        clock = StoppedClock()
        sleeper = market.own(clock=clock, name="sleeper")
        until(lambda: tier.id in sleeper.owned)
        (backend,) = market.backends_owning(tier)
        order_ids = market.orders(tier)
        assert clock.is_asked.wait(5)
        other = market.own()
        started = time.monotonic()
        until(is_served(market, order_ids), seconds=SILENCE + 4)
        assert time.monotonic() - started > SILENCE / 2
        assert tier.id in other.owned
        assert backend not in market.backends_owning(tier)
        late = market.orders(tier)
        until(is_served(market, late))
        clock.may_go.set()
        until(lambda: sleeper.owned == frozenset())
        assert market.counters(tier) == (2, 0)

    def test_an_owner_that_falls_silent_inside_a_round_cannot_write_when_it_wakes(self, market, monkeypatch):
        tier = market.tier(quantity=3)
        order_ids = market.orders(tier, 2)
        is_inside, may_go = threading.Event(), threading.Event()
        locking = allocation_records.lock_orders

        def lock_orders(session, found):
            locking(session, found)
            if not is_inside.is_set():
                is_inside.set()
                assert may_go.wait(30)

        monkeypatch.setattr(allocation_records, "lock_orders", lock_orders)
        finished = []
        serving = allocation.serve

        def serve(session, *args, **options):
            outcome = serving(session, *args, **options)
            finished.append(threading.current_thread())
            return outcome

        monkeypatch.setattr(allocation, "serve", serve)
        sleeper = market.own(name="sleeper")
        assert is_inside.wait(10)
        market.own()
        until(is_served(market, order_ids), seconds=SILENCE + 6)
        with capture_logs() as logs:
            may_go.set()
            until(lambda: sleeper.owned == frozenset())
        events = [entry["event"] for entry in logs]
        assert "fence.lost" in events
        assert "allocation.failed" not in events
        assert sleeper not in finished
        assert market.counters(tier) == (2, 0)


@pytest.fixture
def poison(market):
    """Return a function that makes the database refuse whatever touches an order's items."""

    def poison(order_id, states=("reserved",)):
        market.as_owner(
            "CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.inventory_state IN ('{"', '".join(states)}') THEN RAISE EXCEPTION 'poison'; END IF;"
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
        poison(order_ids[1], states=("reserved", "quarantined"))
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
