"""A house with one event, whose rows can be broken past every constraint; all of it is undone after the test."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import NullPool, create_engine, select, text
from sqlalchemy.orm import sessionmaker

from adapters.database import dispatch_after_commit
from domain import allocation
from domain.invariants.breaches import Scope
from domain.invariants.inspection import INVARIANTS, heal, inspect
from domain.models import OrderItem, PaymentTransaction, TicketTier
from domain.payments import outcomes
from domain.rules.states import AttemptKind, AttemptStatus, LedgerKind, OrderReason, OrderStage
from domain.transitions import close, lock_order
from tests.factories import LedgerEntryFactory, OrderFactory, TicketTierFactory, bound_to
from tests.integration.market import CLOCKS, Market
from tools.stack.postgres import SUPERUSER

PATIENCE = timedelta(minutes=5)
SERVED_BY_HAND = [each for each in INVARIANTS if each.name != "one_owner"]


class House:
    """One tier, whose consumer is called by hand, and whatever somebody does to its rows behind its back."""

    def __init__(self, connection, announced):
        self.connection, self.announced = connection, announced
        self.sessions = sessionmaker(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        dispatch_after_commit(self.sessions, announced.extend)
        self.now = datetime.now(UTC)
        with self.sessions.begin() as session:
            tier = TicketTierFactory(session=session)
        self.tier_id, self.event_id = tier.id, tier.event_id

    def order(self, stage=OrderStage.QUEUED, **values):
        with self.sessions.begin() as session, bound_to(session):
            values.setdefault("tier", session.get_one(TicketTier, self.tier_id))
            return OrderFactory(stage=stage, **values).id

    def confirmed(self, **values):
        """Return an order that was really confirmed, with its tickets and its mail, and counted by the consumer."""
        order_id = self.order(OrderStage.PROCESSING, **values)
        with self.sessions.begin() as session, bound_to(session):
            order = lock_order(session, order_id)
            attempt = session.scalars(select(PaymentTransaction).filter_by(order_id=order_id)).one()
            attempt.status = AttemptStatus.SUCCEEDED
            LedgerEntryFactory(transaction=attempt)
            LedgerEntryFactory(transaction=attempt, kind=LedgerKind.FEE, amount=-(order.fees + order.absorbed_fees))
            outcomes.confirm(session, order, self.now)
        self.serve()
        return order_id

    def closed(self):
        """Return an order that was held and given up, and whose stock is back."""
        order_id = self.order(OrderStage.AWAITING_APPROVAL)
        with self.sessions.begin() as session:
            close(session, lock_order(session, order_id), OrderReason.BUYER_CANCELLED, self.now)
        self.serve()
        return order_id

    def serve(self):
        with self.sessions.begin() as session:
            allocation.serve(session, self.tier_id, self.now, CLOCKS, batch=100)

    def corrupt(self, statement, **values):
        """Change rows past every trigger and foreign key."""
        self.connection.execute(text("SET LOCAL session_replication_role = replica"))
        assert self.connection.execute(text(statement), values).rowcount > 0, "nothing was broken"
        self.connection.execute(text("SET LOCAL session_replication_role = origin"))

    def without(self, table, constraint):
        """Take a CHECK away, for as long as this test lasts."""
        self.connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"))

    def without_index(self, index):
        """Take a unique index away, likewise."""
        self.connection.execute(text(f"DROP INDEX {index}"))

    def scope(self, now=None):
        return Scope([self.event_id], now or self.now, PATIENCE)

    def look(self, now=None):
        """Return the broken rows, by the name of the invariant."""
        return {each.name: rows for each, rows in inspect(self.sessions, self.scope(now), SERVED_BY_HAND).items()}

    def broken(self, now=None):
        """Return the ids of the broken rows, by the name of the invariant."""
        return {name: [breach.id for breach in breaches] for name, breaches in self.look(now).items()}

    def heal(self, now=None):
        """Heal what can be; return for how many rows that was tried."""
        self.announced.clear()
        return heal(self.sessions, inspect(self.sessions, self.scope(now), SERVED_BY_HAND))

    def attempt_of(self, order_id):
        """Return the order's first charge."""
        return self._one(PaymentTransaction, order_id=order_id, kind=AttemptKind.CHARGE, attempt=1)

    def item_of(self, order_id):
        return self._one(OrderItem, order_id=order_id)

    def tier(self):
        return self._one(TicketTier, id=self.tier_id)

    def _one(self, model, **values):
        with self.sessions() as session:
            return session.scalars(select(model).filter_by(**values)).one()


@pytest.fixture
def house(postgres, announced):
    engine = create_engine(postgres.url(SUPERUSER), poolclass=NullPool)
    with engine.connect() as connection, connection.begin() as transaction:
        yield House(connection, announced)
        transaction.rollback()


@pytest.fixture
def market(sessions, postgres):
    market = Market(sessions, postgres)
    yield market
    market.close()
