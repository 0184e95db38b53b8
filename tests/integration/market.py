"""A market for tests of the consumers: tiers and orders that are committed for real, and owners that serve them."""

import time

import pytest
from sqlalchemy import create_engine, select, text

from adapters.clock import SystemClock
from adapters.database import dispatch_after_commit, open_fence_engine
from adapters.statements import open_fenced_sessions
from domain import tier_work
from domain.models import Order, TicketTier
from domain.rules.clocks import Clocks
from tests.factories import OrderFactory, TicketTierFactory, bound_to
from tools.stack.postgres import OWNER, SUPERUSER
from workers.fence import TierOwner
from workers.serving import Pace

SILENCE = 2
CLOCKS = Clocks(
    hold_seconds=300,
    hold_limit_seconds=1200,
    hold_extension_seconds=120,
    partly_held_seconds=60,
    approval_seconds=3600,
    offer_seconds=1800,
    expiring_limit_seconds=120,
)


def until(is_so, seconds=15):
    """Wait for a condition, and fail once its deadline has passed."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"{is_so.__name__} was not so within {seconds} s")
        time.sleep(0.02)


def is_served(market, order_ids, stage="held"):
    """Return the question whether all these orders stand at the stage."""

    def is_served():
        return market.stages(order_ids) == [stage] * len(order_ids)

    return is_served


class Market:
    """Tiers and orders in real tables, and owners that serve them."""

    def __init__(self, sessions, server):
        self.sessions = sessions
        self._server = server
        self._owners = []

    def tier(self, **values):
        with self.sessions.begin() as session:
            return TicketTierFactory(session=session, **values)

    def orders(self, tier, count=1, **values):
        """Put so many orders into a tier's line; return their ids in sequence."""
        with self.sessions.begin() as session, bound_to(session):
            tier = session.get_one(TicketTier, tier.id)
            return [OrderFactory(tier=tier, **values).id for _ in range(count)]

    def stages(self, order_ids):
        with self.sessions() as session:
            found = dict(session.execute(select(Order.id, Order.stage).where(Order.id.in_(order_ids))).all())
        return [str(found[order_id]) for order_id in order_ids]

    def counters(self, tier):
        with self.sessions() as session:
            found = session.get_one(TicketTier, tier.id)
            return found.reserved, found.sold

    def own(self, *, batch=100, slice_seconds=0.5, clock=None, name="allocator"):
        """Start an owner of tiers."""
        engine = open_fence_engine(self._server.url(), silence_seconds=SILENCE, application_name=name)
        pace = Pace(batch, slice_seconds)
        owner = TierOwner(engine, self._open_sessions, clock or SystemClock(), CLOCKS, pace)
        owner.start()
        self._owners.append(owner)
        return owner

    def _open_sessions(self, connection):
        sessions = open_fenced_sessions(connection)
        dispatch_after_commit(sessions, lambda messages: None)
        return sessions

    def backends_owning(self, tier):
        """Return the server processes that hold the tier's advisory lock."""
        key = tier_work.lock_key(tier.id)
        return self.as_superuser(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND ((classid::bigint << 32) | objid::bigint) = :key",
            key=key,
        )

    def as_superuser(self, statement, **values):
        return self._as(SUPERUSER, statement, values)

    def as_owner(self, statement, **values):
        return self._as(OWNER, statement, values)

    def _as(self, role, statement, values):
        engine = create_engine(self._server.url(role))
        with engine.begin() as connection:
            result = connection.execute(text(statement), values)
            rows = list(result.scalars()) if result.returns_rows else []
        engine.dispose()
        return rows

    def close(self):
        for owner in self._owners:
            owner.stop(10)
        assert not any(owner.is_alive() for owner in self._owners)
