"""Places while a real owner serves: told by several web processes, to people who wait while others cancel."""

import random
import threading
import time
from itertools import pairwise

import pytest
from sqlalchemy import text

from domain.models import TicketTier
from tests.integration.market import until
from web.lines import Lines

JOINED, READERS = 150, 2
CANCEL = text("""
    WITH item AS (
        UPDATE order_items SET desired_state = 'released'
        WHERE order_id = :id AND inventory_state = 'queued' AND desired_state IS NULL RETURNING order_id
    )
    UPDATE orders SET stage = 'closed', status = 'cancelled', reason = 'buyer_cancelled', cancelled_at = now()
    FROM item WHERE orders.id = item.order_id
""")
LEFT = text("SELECT count(*) FROM order_items WHERE tier_id = :id AND inventory_state = 'queued'")


@pytest.fixture(autouse=True)
def _long(monkeypatch):
    monkeypatch.setattr("domain.line.COUNTED", 10)
    monkeypatch.setattr("web.lines.COUNTED", 10)
    monkeypatch.setattr("domain.whole_line.IN_FLIGHT", 20)
    monkeypatch.setattr("web.lines.KEPT_SECONDS", 0.1)


class Buyers:
    """Asks for the places of the same people by turns at two keepers of lines, as a proxy spreads their polls."""

    def __init__(self, market, order_ids, seed):
        self._market = market
        self._order_ids = order_ids
        self._random = random.Random(seed)
        self.told = {order_id: [] for order_id in order_ids}

    def poll(self, keepers, stop):
        while not stop.wait(0.005):
            order_id = self._random.choice(self._order_ids)
            with self._market.sessions() as session:
                place = self._random.choice(keepers).find_place(session, order_id)
            if place is not None:
                self.told[order_id].append(place.position)


def test_no_place_ever_rises_in_a_sale_with_cancellations(market):
    tier = market.tier(quantity=JOINED, is_paused=True)
    waiting = market.orders(tier, JOINED)
    mine, others = waiting[9::20], [order_id for number, order_id in enumerate(waiting) if number % 20 != 9]
    random.Random(7).shuffle(others)
    keepers, stop = [Lines(), Lines()], threading.Event()
    # Each asks for people of its own, so that their answers have an order.
    buyers = [Buyers(market, mine[part::READERS], part) for part in range(READERS)]
    threads = [threading.Thread(target=one.poll, args=(keepers, stop)) for one in buyers]
    for thread in threads:
        thread.start()
    market.own(batch=2, slice_seconds=0.01)
    try:
        with market.sessions.begin() as session:
            session.get_one(TicketTier, tier.id).is_paused = False
        for order_id in others[: JOINED // 3]:
            with market.sessions.begin() as session:
                session.execute(CANCEL, {"id": order_id})

        def is_empty():
            with market.sessions() as session:
                return session.scalar(LEFT, {"id": tier.id}) == 0

        until(is_empty, seconds=60)
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    told = [places for one in buyers for places in one.told.values()]
    risen = [pair for places in told for pair in pairwise(places) if pair[1] > pair[0]]
    assert risen == []
    assert sum(len(set(places)) for places in told) > 2 * len(mine)


def test_the_rate_is_the_one_that_those_in_line_see(market):
    tiers = [market.tier(quantity=1000) for _ in range(4)]
    for tier in tiers:
        market.orders(tier, 30)
    began = time.monotonic()
    market.own(batch=5, slice_seconds=0.001)
    for tier in tiers:

        def is_served(tier=tier):
            return market.counters(tier)[0] == 30

        until(is_served, seconds=60)
    seconds = time.monotonic() - began
    # One more round writes down what was measured until then.
    for tier in tiers:
        market.orders(tier, 1)

        def is_served(tier=tier):
            return market.counters(tier)[0] == 31

        until(is_served)
    with market.sessions() as session:
        rates = [session.get_one(TicketTier, tier.id).service_rate for tier in tiers]
    # While one is served three others wait: of its own turns alone, each would be about four times as fast.
    assert max(rates) < 2 * 30 / seconds
