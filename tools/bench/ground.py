"""The ground on which scenarios run: the system's processes as `./dev run` starts them, with settings for measuring.

Payments, tickets and mail are left out, and with them the stand-ins: a decision ends at `held`, and their work would
only take the CPU from what is measured.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis
from flask import Flask
from uuid_utils.compat import uuid7

from adapters.queue import open_queue_app, send
from domain.logins import Grant
from domain.messages import PAYMENTS, ServeTier, tier_queue
from domain.rules.states import UserRole
from tools.bench.database import Database
from tools.bench.market import Market, Sale, buyers
from tools.bench.patience import wait_until, wait_until_still
from tools.bench.processes import Meter, read_usage
from tools.stack.environment import REPLACES, given_values
from tools.stack.plan import Plan
from tools.stack.supervisor import Part
from web import auth

LEFT_OUT = {"payments", "tickets", "notifications", "webhooks", "stripe", "sendgrid", "accounts", "flower"}
SETTINGS = {
    "RATE_LIMITS": "off",
    # A few thousand people stand for a crowd.
    "WAITING_ORDERS_PER_PERSON": "0",
    # Tokens are minted once, and holds must not run out between two rounds.
    "JWT_ACCESS_SECONDS": str(12 * 3600),
    "HOLD_LIMIT_SECONDS": str(12 * 3600),
    # Nobody fetches the messages about payments, and the sweep would ring for them, and call them late.
    "STALL_SECONDS": str(12 * 3600),
}
ALLOCATOR = "allocator"
"""So begin the names of their parts, and of their sessions."""
_SESSIONS = "SELECT pid, application_name FROM pg_stat_activity WHERE application_name LIKE :name"
_AT_WORK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name LIKE :name AND (state <> 'idle' OR clock_timestamp() - state_change < interval '0.3 s')
"""


class GroundError(Exception):
    """The bench cannot be started; the message says why."""


def prepare_environment() -> None:
    """Set what differs for measuring; raise `GroundError` where a person's own server would be measured."""
    replaced = sorted(name for name in REPLACES if name in given_values())
    if replaced:
        raise GroundError(
            "it measures servers of its own, and fills them:"
            f" take {', '.join(replaced)} out of the environment and .env."
        )
    os.environ.update(SETTINGS)


def measured_parts(parts: Sequence[Part]) -> list[Part]:
    """Return the parts that are measured."""
    return [part for part in parts if part.name not in LEFT_OUT]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for."""

    scale: float
    rounds: int
    seed: int

    def count(self, number: int, least: int = 1) -> int:
        """Return a number of things at this scale."""
        return max(round(number * self.scale), least)


class Ground:
    """Everything that a scenario needs, while the system runs."""

    def __init__(self, plan: Plan, options: Options, pids: Callable[[], Mapping[str, int]]) -> None:
        self.options = options
        self.port = plan.ports["web"].number
        self.database = Database(plan.postgres)
        self.market = Market(self.database)
        self.tokens = _mint_tokens(plan)
        self._pids = pids
        self._queues = open_queue_app("celeryconfig")
        self._redis_url = plan.valkey.url

    def meter(self) -> Meter:
        """Return what reads the CPU and the memory of each part while a block runs."""
        return Meter(lambda: read_usage(self._pids()))

    def meter_allocation(self) -> Meter:
        """Return what reads the CPU of the allocators and of their sessions in PostgreSQL, and of nothing else."""
        pids = {name: pid for name, pid in self._pids().items() if name.startswith(ALLOCATOR)}
        sessions = self.database.rows(_SESSIONS, name=f"{ALLOCATOR} %")
        pids |= {f"session of {row.application_name}": row.pid for row in sessions}
        return Meter(lambda: read_usage(pids))

    def ring(self, sale: Sale) -> None:
        """Say that something waits in each tier of a sale."""
        with self._queues.producer_or_acquire() as producer:
            for tier_id in sale.tier_ids:
                send(self._queues, ServeTier(tier_id), producer=producer)

    def wait_for_consumers(self, sale: Sale) -> None:
        """Return once each tier's queue is emptied by its owner, half a second behind the lock, and all owners rest."""
        self.market.wait_for_owners(sale)
        self.ring(sale)
        names = [tier_queue(tier_id) for tier_id in sale.tier_ids]
        with redis.from_url(self._redis_url) as broker:
            wait_until(lambda: not broker.exists(*names), "each tier's queue is consumed")
        # A thousand rings are heard in rounds, in which nothing is found: they are no part of what is measured next.
        wait_until(lambda: not self.database.rows(_AT_WORK, name=f"{ALLOCATOR} %")[0][0], "the allocators rest")

    def wait_until_told(self) -> None:
        """Return once the allocators have published what they decided, which goes on after the last decision."""
        with redis.from_url(self._redis_url) as broker:
            wait_until_still(lambda: int(broker.llen(PAYMENTS)), "all decisions are published")

    def close(self, sale: Sale) -> None:
        """End a sale, with the messages to the payments that nobody fetches here."""
        self.market.close(sale)
        with redis.from_url(self._redis_url) as broker:
            broker.delete(PAYMENTS)


def _mint_tokens(plan: Plan) -> list[str]:
    """Return an access token for each buyer: no log-in, so no bcrypt, is part of a measurement."""
    app = Flask("bench")
    auth.install(app, plan.settings)
    now = datetime.now(UTC)
    with app.app_context():
        return [
            auth.issue_tokens(UserRole.USER, Grant(buyer, uuid7(), uuid7(), now, now + timedelta(days=1)))[0]
            for buyer in buyers()
        ]
