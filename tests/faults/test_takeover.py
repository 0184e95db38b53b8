import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from adapters.database import open_sessions
from adapters.queue import Dispatcher, open_queue_app
from domain.orders import accept
from domain.purchases import Arrival, Purchase, Wish
from domain.rules.admission import AdmissionLimits
from domain.storefront import read_offers
from domain.tier_work import lock_key
from tests.factories import UserFactory, bound_to
from tests.integration.market import Market
from tools.bench.fairness import Turn, find_unfair
from tools.stack.environment import ROOT

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

LIMITS = AdmissionLimits(line_limit=50_000, line_stock_factor=3, line_spare=1000, waiting_orders_per_person=0)

TIERS, BUYERS, MOST = 6, 4, 20_000
START_SECONDS = 120
PAUSE_SECONDS = 0.1
"""Between a buyer's orders: enough load to have a line everywhere, and to leave a small machine able to breathe."""
TAKEOVER_SECONDS = 5.0

OWNED = """
    SELECT count(*) FROM pg_locks JOIN pg_stat_activity AS session USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 1 AND session.application_name LIKE :name
      AND (classid::bigint << 32 | objid::bigint) = ANY(:keys)
"""
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE :name"
BEHIND = """
    SELECT count(*) FROM unnest(CAST(:ids AS uuid[])) AS tier (id) WHERE NOT EXISTS (
        SELECT FROM order_items WHERE tier_id = tier.id AND sequence > :last AND inventory_state <> 'queued')
"""
WAITING = "SELECT count(*) FROM order_items WHERE tier_id = ANY(:ids) AND inventory_state = 'queued'"
DECISIONS = """
    SELECT item.order_id, item.sequence, item.inventory_state, orders.held_at,
           (SELECT count(*) FROM order_timeline WHERE order_id = orders.id AND kind = 'held') AS times
    FROM order_items AS item JOIN orders ON orders.id = item.order_id WHERE item.tier_id = :id
"""
COUNTERS = "SELECT reserved, sold FROM ticket_tiers WHERE id = :id"


@dataclass(frozen=True)
class Bought:
    order_id: UUID
    began: float
    answered: float


class Sale:
    """Several tiers that are being sold, without a pause, until the sale is over."""

    def __init__(self, engine, market):
        self._engine = engine
        self._bells = Dispatcher(open_queue_app("celeryconfig"))
        self._sessions = open_sessions(engine, self._bells)
        self.ids = [market.tier(quantity=MOST, max_per_person=None).id for _ in range(TIERS)]
        self.keys = [lock_key(tier_id) for tier_id in self.ids]
        with self._sessions.begin() as session, bound_to(session):
            people = [UserFactory().id for _ in range(BUYERS)]
            self._offers = read_offers(session, self.ids)
        self._bought = {tier_id: [] for tier_id in self.ids}
        self._over = threading.Event()
        self._buyers = [threading.Thread(target=self._buy, args=[person]) for person in people]

    def begin(self):
        for buyer in self._buyers:
            buyer.start()
        self.until(BEHIND, [(0,)], ids=self.ids, last=0)

    def _buy(self, person):
        for _ in range(MOST // BUYERS):
            if self._over.wait(PAUSE_SECONDS):
                return
            tier_id, began = random.choice(self.ids), time.monotonic()
            purchase = Purchase(person, self._offers[tier_id].event_id, [Wish(tier_id, 1)], str(uuid4()), "f" * 64)
            with self._sessions.begin() as session:
                (made,) = accept(session, [Arrival(purchase, self._offers, datetime.now(UTC))], LIMITS)
            self._bought[tier_id].append(Bought(made.order_id, began, time.monotonic()))

    def rows(self, statement, **values):
        with self._engine.connect() as connection:
            return connection.execute(text(statement), values).all()

    def until(self, statement, expected, **values):
        """Wait until a query answers what is expected, and return how many seconds that took."""
        began = time.monotonic()
        while (found := self.rows(statement, **values)) != expected:
            if time.monotonic() - began > 30:
                pytest.fail(f"{statement} says {found}, not {expected}", pytrace=False)
            time.sleep(0.02)
        return time.monotonic() - began

    def owned_by(self, allocator):
        return self.rows(OWNED, name=f"allocator {allocator.pid}@%", keys=self.keys)[0][0]

    def sessions_of(self, allocator):
        return [row.pid for row in self.rows(SESSIONS, name=f"allocator {allocator.pid}@%")]

    def check_takeover(self, fault):
        """Each tier decides an order that is accepted after the fault, and in time."""
        last = self.rows("SELECT max(sequence) FROM order_items")[0][0]
        seconds = self.until(BEHIND, [(0,)], ids=self.ids, last=last)
        logging.getLogger(__name__).warning("%s: every line moved again after %.1f s", fault, seconds)
        assert seconds <= TAKEOVER_SECONDS

    def end(self):
        self._over.set()
        for buyer in self._buyers:
            if buyer.ident is not None:
                buyer.join(60)
        self._bells.close()

    def check(self):
        """Everything that was accepted was served, once, and in the order of arrival."""
        self.end()
        self.until(WAITING, [(0,)], ids=self.ids)
        for tier_id, bought in self._bought.items():
            decisions = {row.order_id: row for row in self.rows(DECISIONS, id=tier_id)}
            assert decisions.keys() == {one.order_id for one in bought}
            assert {(row.inventory_state, row.times) for row in decisions.values()} == {("reserved", 1)}
            assert find_overtaken([(decisions[one.order_id].held_at, one) for one in bought]) == []
            turns = [
                Turn(str(one.order_id), decisions[one.order_id].sequence, one.began, one.answered, is_served=True)
                for one in bought
            ]
            assert find_unfair(turns) == []
            assert self.rows(COUNTERS, id=tier_id) == [(len(bought), 0)]


def find_overtaken(served):
    """Return the orders that were served after one whose request began when they had their 202 already."""
    overtaken, latest_began, same_round = [], float("-inf"), []
    round_of = None
    for held_at, one in sorted(served, key=lambda pair: pair[0]):
        if held_at != round_of:
            latest_began = max([latest_began, *(other.began for other in same_round)])
            round_of, same_round = held_at, []
        same_round.append(one)
        if one.answered < latest_began:
            overtaken.append(one.order_id)
    return overtaken


class Allocators:
    """Processes that are started as operators start them, and not started again by anybody."""

    def __init__(self, environment, folder):
        self._environment, self._folder = environment, folder
        self._all = []

    def run(self, count):
        """Have so many of them running on this host, and return them."""
        running = [process for process in self._all if process.poll() is None]
        for process in running[count:]:
            self.kill(process)
        return running[:count] + [self.start() for _ in range(count - len(running))]

    def start(self, on=lambda command: command, **changes):
        command = [sys.executable, "-m", "celery", "-A", "workers.allocator", "worker", "--pool", "solo"]
        command += ["--without-mingle", "--without-gossip", "--hostname", f"allocator-{len(self._all)}@%h"]
        log = self._folder / f"{len(self._all)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                on(command),
                cwd=ROOT,
                env={**os.environ, **self._environment, **changes},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # So the kernel gives it a share of the CPU of its own, beside the buyers' (autogroup, sched(7)).
                start_new_session=True,
            )
        process.log = log
        self._all.append(process)
        return process

    def kill(self, process):
        process.kill()  # also one that is stopped
        process.wait(10)

    def end(self):
        for process in self._all:
            self.kill(process)


@pytest.fixture(scope="module")
def allocators(environment, postgres, redis_url, tmp_path_factory):
    allocators = Allocators(environment, tmp_path_factory.mktemp("allocators"))
    yield allocators
    allocators.end()


@pytest.fixture
def sale(engine, sessions, postgres):
    sale = Sale(engine, Market(sessions, postgres))
    yield sale
    sale.end()


def wait_for_shares(sale, allocators, sizes):
    """Wait until the allocators own so many tiers each."""
    deadline = time.monotonic() + START_SECONDS
    while (owned := [sale.owned_by(allocator) for allocator in allocators]) != sizes:
        assert all(allocator.poll() is None for allocator in allocators)
        if time.monotonic() > deadline:
            pytest.fail(f"the allocators own {owned} tiers, not {sizes}", pytrace=False)
        time.sleep(0.05)


def events_of(allocator):
    lines = allocator.log.read_text().splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def test_tiers_move_to_an_allocator_that_is_added_and_no_order_is_lost_doubled_or_overtaken(sale, allocators):
    two = allocators.run(2)
    wait_for_shares(sale, two, [3, 3])
    sale.begin()
    added = allocators.start()
    wait_for_shares(sale, [*two, added], [2, 2, 2])
    sale.check_takeover("an allocator was added")
    sale.check()
    assert events_of(added).count("allocation.served") > 1


def test_the_tiers_of_a_killed_allocator_are_taken_over(sale, allocators):
    killed, *others = allocators.run(3)
    wait_for_shares(sale, [killed, *others], [2, 2, 2])
    sale.begin()
    allocators.kill(killed)
    sale.check_takeover("kill -9")
    wait_for_shares(sale, others, [3, 3])
    sale.check()


def test_the_tiers_of_a_stopped_allocator_are_taken_over_and_it_wakes_without_them(sale, allocators):
    stopped, *others = allocators.run(3)
    wait_for_shares(sale, [stopped, *others], [2, 2, 2])
    sale.begin()
    stopped.send_signal(signal.SIGSTOP)
    sale.check_takeover("SIGSTOP")
    wait_for_shares(sale, others, [3, 3])
    assert sale.sessions_of(stopped) == []
    stopped.send_signal(signal.SIGCONT)
    wait_for_shares(sale, [stopped, *others], [2, 2, 2])
    sale.check()
    assert "fence.lost" in events_of(stopped)


def test_the_tiers_of_an_allocator_behind_a_cut_network_are_taken_over(sale, allocators, host, environment):
    others = allocators.run(2)
    urls = {name: environment[name] for name in ("DATABASE_URL", "REDIS_URL")}
    there = {name: url.replace("127.0.0.1", host.forward(urlsplit(url).port)) for name, url in urls.items()}
    far = allocators.start(host.command, **there)
    wait_for_shares(sale, [far, *others], [2, 2, 2])
    sale.begin()
    host.cut()
    sale.check_takeover("a cut network")
    wait_for_shares(sale, others, [3, 3])
    assert sale.sessions_of(far) == []
    host.connect()
    wait_for_shares(sale, [far, *others], [2, 2, 2])
    allocators.kill(far)
    sale.check()
    assert "fence.lost" in events_of(far)
