from contextvars import Context

import pytest
from sqlalchemy import text

from domain.models import Base, Order, TicketTier
from domain.rules.states import OrderStage, TicketStatus, WaitlistStatus
from tests import factories
from tests.factories import OrderFactory, TicketFactory, TicketTierFactory, UserFactory, WaitlistFactory, bound_to

ALL = [getattr(factories, name) for name in factories.__all__ if name.endswith("Factory")]


@pytest.mark.parametrize("factory", ALL, ids=lambda factory: factory.__name__)
def test_every_factory_makes_a_row_of_its_model(session, factory):
    row = factory(session=session)
    assert session.get(type(row), session.identity_key(instance=row)[1]) is row


def test_every_model_has_a_factory():
    # An item exists only within its order.
    mapped = {mapper.class_.__name__ for mapper in Base.registry.mappers} - {"OrderItem"}
    assert {factory._meta.model.__name__ for factory in ALL} == mapped


@pytest.mark.parametrize("stage", OrderStage)
def test_an_order_of_each_stage_agrees_with_its_tiers_counters(session, stage):
    with bound_to(session):
        tier = TicketTierFactory()
        other = TicketTierFactory(event=tier.event)
        order = OrderFactory(stage=stage, contents={tier: 2, other: 1})
    session.expire_all()
    assert session.get_one(Order, order.id).stage is stage
    counters = session.execute(text("SELECT reserved, sold, counted_reserved, counted_sold FROM tier_counters"))
    for reserved, sold, counted_reserved, counted_sold in counters:
        assert (reserved, sold) == (counted_reserved, counted_sold)


def test_a_complete_order_has_money_in_the_ledger_and_a_ticket_per_seat(session):
    order = OrderFactory(session=session, stage=OrderStage.COMPLETE, quantity=3)
    balance = session.execute(text("SELECT charged, fees, live_tickets FROM order_balance")).one()
    assert balance == (order.total, order.fees + order.absorbed_fees, 3)


def test_an_offered_entry_stands_where_its_order_stands(session):
    entry = WaitlistFactory(session=session, status=WaitlistStatus.OFFERED, quantity=2)
    assert entry.sequence == entry.offered_order.sequence
    assert session.get_one(TicketTier, entry.tier_id).reserved == 2


def test_a_used_ticket_was_checked_in(session):
    assert TicketFactory(session=session, status=TicketStatus.USED).checked_in_at is not None


def test_a_factory_without_a_session_says_so():
    with pytest.raises(RuntimeError, match="Say where the row goes"):
        Context().run(UserFactory)
