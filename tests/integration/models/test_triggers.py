from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, text, update
from sqlalchemy.exc import DBAPIError

from domain.models import Base, Order, OrderItem, User
from domain.models.base import Timestamped
from domain.rules.states import OrderStage
from tests.factories import AuditLogFactory, LedgerEntryFactory, OrderFactory, UserFactory, bound_to
from tools.stack.postgres import OWNER

TOUCHED = sorted(mapper.local_table.name for mapper in Base.registry.mappers if issubclass(mapper.class_, Timestamped))
EARLY = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("table", TOUCHED)
def test_every_table_with_updated_at_has_the_trigger(session, table):
    triggers = session.scalars(
        text("SELECT tgname FROM pg_trigger WHERE tgrelid = CAST(:table AS regclass) AND NOT tgisinternal"),
        {"table": table},
    )
    assert f"touch_{table}" in triggers.all()


def test_a_set_based_change_cannot_forget_updated_at(session):
    user = UserFactory(updated_at=EARLY)
    session.execute(text("UPDATE users SET first_name = 'Grace' WHERE id = :id"), {"id": user.id})
    session.refresh(user)
    assert user.updated_at > EARLY


def test_a_change_cannot_choose_its_own_updated_at(session):
    user = UserFactory()
    session.execute(update(User).where(User.id == user.id).values(updated_at=EARLY))
    session.refresh(user)
    assert user.updated_at > EARLY


def test_each_change_of_an_order_counts_its_version_up(session):
    order = OrderFactory()
    assert order.version == 1
    session.execute(update(Order).where(Order.id == order.id).values(stage=OrderStage.HELD))
    session.execute(text("UPDATE orders SET version = 1 WHERE id = :id"), {"id": order.id})
    session.refresh(order)
    assert order.version == 3


def test_an_object_knows_its_new_version_right_after_the_flush(session):
    order = OrderFactory()
    order.stage = OrderStage.HELD
    session.flush()
    session.expunge(order)
    # Detached, it could not ask again.
    assert order.version == 2


def test_a_change_of_an_item_leaves_its_orders_version_alone(session):
    order = OrderFactory()
    session.execute(update(OrderItem).where(OrderItem.order_id == order.id).values(desired_state="released"))
    session.refresh(order)
    assert order.version == 1


@pytest.mark.parametrize(
    ("factory", "statement"),
    [
        (LedgerEntryFactory, "UPDATE ledger_entries SET amount = amount + 1"),
        (LedgerEntryFactory, "DELETE FROM ledger_entries"),
        (AuditLogFactory, "UPDATE audit_logs SET action = 'nothing.happened'"),
        (AuditLogFactory, "DELETE FROM audit_logs"),
    ],
)
def test_not_even_the_owner_changes_what_happened(sessions, postgres, factory, statement):
    with sessions.begin() as session, bound_to(session):
        factory()
    owner = create_engine(postgres.url(OWNER))
    with owner.connect() as connection, pytest.raises(DBAPIError, match="are only ever added"):
        connection.execute(text(statement))
    owner.dispose()
