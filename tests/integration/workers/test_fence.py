import threading
import time
from itertools import pairwise

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from adapters.clock import SystemClock
from domain import allocation, allocation_records, tier_work
from domain.models import TicketTier
from tests.integration.market import SILENCE, is_served, until
from workers import fence, serving


class StoppedClock(SystemClock):
    """A clock that holds up whoever asks for the time, as SIGSTOP would, until it is let go."""

    def __init__(self):
        self.is_asked, self.may_go = threading.Event(), threading.Event()

    def now(self):
        self.is_asked.set()
        assert self.may_go.wait(30)
        return super().now()


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

    @pytest.fixture
    def turns(self, monkeypatch):
        """Collect the tiers of each round, and how many orders of each it may decide."""
        turns = []
        serving = allocation.serve_together

        def serve_together(session, tier_ids, *args, batch, **options):
            turns.append((set(tier_ids), batch))
            return serving(session, tier_ids, *args, batch=batch, **options)

        monkeypatch.setattr(allocation, "serve_together", serve_together)
        return turns

    def test_long_lines_share_a_round_evenly(self, market, turns):
        tiers = [market.tier(), market.tier()]
        order_ids = [order_id for tier in tiers for order_id in market.orders(tier, 6)]
        market.own(batch=4)
        until(is_served(market, order_ids))
        assert turns[:3] == [({tier.id for tier in tiers}, 2)] * 3
        assert [market.counters(tier) for tier in tiers] == [(6, 0), (6, 0)]

    def test_a_line_that_is_longer_than_the_others_goes_on_alone(self, market, turns):
        short, long = market.tier(), market.tier()
        order_ids = market.orders(short, 1) + market.orders(long, 6)
        market.own(batch=4)
        until(is_served(market, order_ids))
        assert turns[:2] == [({short.id, long.id}, 2), ({long.id}, 4)]

    def test_time_slices_alternate_between_long_lines_that_do_not_fit_into_one_round(self, market, turns, monkeypatch):
        monkeypatch.setattr(fence, "TOGETHER", 1)
        tiers = [market.tier(), market.tier()]
        order_ids = [order_id for tier in tiers for order_id in market.orders(tier, 6)]
        market.own(batch=1, slice_seconds=0.000001)
        until(is_served(market, order_ids))
        first_twelve = [tier_id for tier_ids, _ in turns[:12] for tier_id in tier_ids]
        assert [first_twelve.count(tier.id) for tier in tiers] == [6, 6]
        assert all(one != another for one, another in pairwise(first_twelve))

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
        monkeypatch.setattr(serving.TierServer, "serve_slice", lambda self, tier_ids: [])
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
        serving = allocation.serve_together

        def serve_together(session, *args, **options):
            outcome = serving(session, *args, **options)
            finished.append(threading.current_thread())
            return outcome

        monkeypatch.setattr(allocation, "serve_together", serve_together)
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
