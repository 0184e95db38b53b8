"""While everything moves, nothing is broken: stories of money in any order, and a rush with real owners."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from domain.invariants.breaches import Scope
from domain.invariants.inspection import INVARIANTS, inspect
from domain.rules.lifecycle import may_move
from domain.rules.states import OrderReason, OrderStage
from domain.transitions import close, lock_order
from tests.fixtures.payments import SECRET
from tests.integration.domain.payments.story import Story
from tests.integration.market import until
from tools.stack.stripe.server import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STORIES, STEPS = 8, 40
EVER = timedelta(days=365)
"""A story's clock leaps, and the server's does not."""
HOUR = timedelta(hours=1)
ROUNDS = 10
OWNED = [each for each in INVARIANTS if each.name != "one_owner"]
"""In a story the consumer is called by hand."""


def faults(found):
    return [(each.name, breach.name, breach.fault) for each, breaches in found.items() for breach in breaches]


class InspectedStory(Story):
    @invariant()
    def nothing_is_broken(self):
        if hasattr(self, "world"):
            scope = Scope([self.world.event_id], self.world.now, EVER)
            assert faults(inspect(self.world.sessions, scope, OWNED)) == []

    def _check(self):
        self.nothing_is_broken()


def test_no_step_of_any_story_breaks_an_invariant(engine):
    with running(webhook_secret=SECRET, secret_key="sk_story") as standin:
        run_state_machine_as_test(
            lambda: InspectedStory(engine, standin),
            settings=settings(
                max_examples=STORIES,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                print_blob=True,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_a_rush_at_two_owners_breaks_no_invariant(market):
    tiers = [market.tier(quantity=60) for _ in range(2)]
    event_ids = [tier.event_id for tier in tiers]
    looks, found, is_over = [], [], threading.Event()

    def look():
        while not is_over.is_set():
            found.extend(faults(inspect(market.sessions, Scope(event_ids, datetime.now(UTC), HOUR), OWNED)))
            looks.append(1)

    inspector = threading.Thread(target=look)
    owners = [market.own(batch=7, slice_seconds=0.01, name=f"allocator-{number}") for number in range(2)]
    until(lambda: {tier.id for tier in tiers} <= owners[0].owned | owners[1].owned)
    inspector.start()
    order_ids = []
    try:
        for _ in range(ROUNDS):
            for tier in tiers:
                order_ids += market.orders(tier, 10)
            give_up_some(market, order_ids)
        until(lambda: set(market.stages(order_ids)) <= {"held", "closed"}, seconds=60)
    finally:
        is_over.set()
        inspector.join(60)
    assert len(looks) > ROUNDS
    assert found == []
    scope = Scope(event_ids, datetime.now(UTC), HOUR)
    until(lambda: faults(inspect(market.sessions, scope)) == [])


def give_up_some(market, order_ids):
    """Let every third buyer cancel, as far as that is legal."""
    for order_id in order_ids[::3]:
        with market.sessions.begin() as session:
            order = lock_order(session, order_id)
            if may_move(order.stage, OrderStage.CLOSED):
                close(session, order, OrderReason.BUYER_CANCELLED, datetime.now(UTC))
