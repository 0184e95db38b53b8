from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, select, text
from structlog.testing import capture_logs

from domain import tier_work
from domain.models import TimelineEntry
from tests.integration.market import is_served, until
from workers import fence, sharing
from workers.serving import TierServer


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(fence, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(sharing, "CALM_SECONDS", 0.5)
    monkeypatch.setattr(sharing, "BUSY_SECONDS", 0.5)


@pytest.fixture
def looks(monkeypatch):
    """Count the looks of all owners."""
    counted = []
    finding = tier_work.find_owners
    monkeypatch.setattr(tier_work, "find_owners", lambda session, tiers: counted.append(1) or finding(session, tiers))
    return counted


def share_out(owners, tier_ids, sizes):
    """Wait until each tier has one owner, and the owners have so many each."""

    def are_shared():
        owned = [owner.owned for owner in owners]
        return sorted(map(len, owned)) == sorted(sizes) and frozenset().union(*owned) == tier_ids

    until(are_shared)


def moves(logs):
    """Return how often each tier was adopted."""
    adopted = [tier for entry in logs if entry["event"] == "fence.adopted" for tier in entry["tiers"]]
    return {tier: adopted.count(tier) for tier in adopted}


@contextmanager
def sleeping_member(postgres):
    """Have an allocator that is there, and takes nothing."""
    engine = create_engine(postgres.url())
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock_shared(:members, 0)"), {"members": tier_work.MEMBERS_CLASS})
        yield
    engine.dispose()


class TestShares:
    def test_whoever_comes_gets_an_even_part_and_each_tier_moves_once(self, market):
        tiers = frozenset(market.tier().id for _ in range(7))
        first = market.own()
        share_out([first], tiers, [7])
        with capture_logs() as logs:
            second = market.own()
            share_out([first, second], tiers, [3, 4])
        assert set(moves(logs).values()) == {1}
        third = market.own()
        share_out([first, second, third], tiers, [2, 2, 3])

    def test_the_tiers_of_one_that_goes_are_shared_by_those_that_stay(self, market):
        tiers = frozenset(market.tier().id for _ in range(6))
        owners = [market.own() for _ in range(3)]
        share_out(owners, tiers, [2, 2, 2])
        owners.pop().stop(5)
        share_out(owners, tiers, [3, 3])

    def test_what_goes_on_sale_later_is_shared_too(self, market):
        tiers = frozenset(market.tier().id for _ in range(2))
        owners = [market.own(), market.own()]
        share_out(owners, tiers, [1, 1])
        tiers |= frozenset(market.tier().id for _ in range(4))
        share_out(owners, tiers, [3, 3])

    def test_nothing_moves_between_even_parts(self, market, looks):
        tiers = frozenset(market.tier().id for _ in range(5))
        owners = [market.own(), market.own()]
        share_out(owners, tiers, [2, 3])
        with capture_logs() as logs:
            count = len(looks)
            until(lambda: len(looks) > count + 12)
        assert moves(logs) == {}
        assert not {"fence.passed_on", "fence.lost"} & {entry["event"] for entry in logs}

    def test_a_tier_that_has_just_come_stays_for_a_while(self, market, looks, monkeypatch):
        monkeypatch.setattr(sharing, "CALM_SECONDS", 60)
        tiers = frozenset(market.tier().id for _ in range(2))
        first = market.own()
        share_out([first], tiers, [2])
        second = market.own()
        count = len(looks)
        until(lambda: len(looks) > count + 12)
        assert (first.owned, second.owned) == (tiers, frozenset())

    def test_busy_tiers_are_shared_apart_from_idle_ones(self, market, monkeypatch):
        tiers = [market.tier() for _ in range(4)]
        owners = [market.own(), market.own()]
        share_out(owners, frozenset(tier.id for tier in tiers), [2, 2])
        monkeypatch.setattr(TierServer, "serve_slice", lambda self, tier_ids: [])
        busy = [tier for tier in tiers if tier.id in owners[0].owned]
        order_ids = [market.orders(tier) for tier in busy]
        until(lambda: all(len(owner.owned & {tier.id for tier in busy}) == 1 for owner in owners))
        share_out(owners, frozenset(tier.id for tier in tiers), [2, 2])
        monkeypatch.undo()
        for found in order_ids:
            until(is_served(market, found))

    def test_a_tier_is_taken_though_it_is_the_part_of_somebody_who_does_not_take_it(self, market, postgres):
        tiers = frozenset(market.tier().id for _ in range(2))
        with sleeping_member(postgres):
            owner = market.own()
            share_out([owner], tiers, [2])


class TestMoves:
    def test_a_line_is_served_in_sequence_and_once_while_its_tier_moves(self, market):
        tiers = [market.tier(quantity=200) for _ in range(4)]
        order_ids = {tier.id: market.orders(tier, 15) for tier in tiers}
        first = market.own(batch=1, slice_seconds=0.01)
        until(lambda: len(first.owned) == 4)
        second = market.own(batch=1, slice_seconds=0.01)
        for _ in range(100):
            for tier in tiers:
                order_ids[tier.id] += market.orders(tier)
            if len(second.owned) == 2:
                break
        assert len(second.owned) == 2
        for tier in tiers:
            order_ids[tier.id] += market.orders(tier, 3)
            until(is_served(market, order_ids[tier.id]))
            assert market.counters(tier) == (len(order_ids[tier.id]), 0)
            with market.sessions() as session:
                told = session.scalars(
                    select(TimelineEntry.order_id)
                    .where(TimelineEntry.order_id.in_(order_ids[tier.id]), TimelineEntry.kind == "held")
                    .order_by(TimelineEntry.id)
                ).all()
            assert told == order_ids[tier.id]
