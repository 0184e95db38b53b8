from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from sqlalchemy import func, select, text

from domain import allocation, orders, sweep, waitlist
from domain.audit import Actor
from domain.errors import ConflictError
from domain.models import Order, Waitlist
from domain.rules.states import OrderReason, OrderStage, UserRole, WaitlistStatus
from tests.factories import TicketTierFactory, UserFactory, WaitlistFactory, bound_to
from tests.integration.market import CLOCKS, until

NOW = datetime.now(UTC)


@pytest.fixture
def entry(sessions):
    with sessions.begin() as session, bound_to(session):
        return WaitlistFactory(status=WaitlistStatus.OFFERED)


def person_of(entry):
    return Actor(user_id=entry.user_id, role=UserRole.USER)


def read(sessions, entry):
    with sessions() as session:
        entry = session.get_one(Waitlist, entry.id)
        return entry, session.get(Order, entry.offered_order_id) if entry.offered_order_id else None


class Rival(Thread):
    """Does something on a connection of its own, and keeps what came of it."""

    def __init__(self, engine, act):
        super().__init__()
        self._engine, self._act = engine, act
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self._act()
        except Exception as error:  # noqa: BLE001 the test looks at it
            self.error = error

    def until_it_waits(self):
        until(lambda: self._waiting() == 1)

    def _waiting(self):
        with self._engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def in_transaction(sessions, act):
    def run():
        with sessions.begin() as session:
            return act(session)

    return run


class TestAcceptAgainstExpiry:
    def test_the_sweep_waits_for_an_acceptance_and_looks_again(self, sessions, engine, entry):
        with sessions() as session:
            waitlist.accept(session, entry.id, person_of(entry), CLOCKS, NOW)
            # Meanwhile the buyer's clock was moved; the sweep sees the order as it was before.
            order = session.get(Order, entry.offered_order_id)
            after_the_end = order.hold_expires_at + timedelta(minutes=1)
            order.hold_expires_at += timedelta(hours=1)
            rival = Rival(engine, lambda: sweep.expire(sessions, after_the_end, CLOCKS))
            rival.until_it_waits()
            session.commit()
        rival.join(10)
        found, order = read(sessions, entry)
        assert (rival.error, rival.result) == (None, 0)
        assert (found.status, order.stage) == (WaitlistStatus.ACCEPTED, OrderStage.HELD)

    def test_an_acceptance_that_comes_second_finds_the_offer_gone(self, sessions, engine, entry):
        with sessions() as session:
            order = sweep.lock_order(session, entry.offered_order_id)
            sweep.give_up(session, order, OrderReason.OFFER_EXPIRED, NOW, CLOCKS)
            accept = in_transaction(
                sessions, lambda session: waitlist.accept(session, entry.id, person_of(entry), CLOCKS, NOW)
            )
            rival = Rival(engine, accept)
            rival.until_it_waits()
            session.commit()
        rival.join(10)
        found, order = read(sessions, entry)
        assert isinstance(rival.error, ConflictError)
        assert (found.status, order.stage) == (WaitlistStatus.EXPIRED, OrderStage.CLOSED)


def test_two_acceptances_at_once_answer_the_same_order(sessions, engine, entry):
    def accept(session):
        return waitlist.accept(session, entry.id, person_of(entry), CLOCKS, NOW)

    with sessions() as session:
        first = accept(session)
        rival = Rival(engine, in_transaction(sessions, accept))
        rival.until_it_waits()
        session.commit()
    rival.join(10)
    assert (rival.error, rival.result) == (None, first)


def test_an_offered_order_that_its_buyer_cancels_is_a_declined_offer(sessions, entry):
    with sessions.begin() as session:
        orders.cancel(session, entry.offered_order_id, person_of(entry), NOW, CLOCKS)
    found, order = read(sessions, entry)
    assert (found.status, found.response) == (WaitlistStatus.DECLINED, "declined")
    assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.BUYER_CANCELLED)


def test_of_two_requests_to_join_at_once_one_is_told_that_it_waits_already(sessions, engine):
    with sessions.begin() as session, bound_to(session):
        tier, person = TicketTierFactory(quantity=0), Actor(user_id=UserFactory().id)

    def join(session):
        return waitlist.join(session, person, tier.event_id, tier.id, 1, NOW).id

    with sessions() as session:
        join(session)
        rival = Rival(engine, in_transaction(sessions, join))
        rival.until_it_waits()
        session.commit()
    rival.join(10)
    assert isinstance(rival.error, ConflictError)
    assert rival.error.code == "already-waiting"
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Waitlist)) == 1


def test_whoever_leaves_while_the_offer_is_being_made_declines_it(sessions, engine):
    with sessions.begin() as session, bound_to(session):
        entry = WaitlistFactory(tier=TicketTierFactory(quantity=1))
    with sessions() as consumer:
        allocation.serve(consumer, entry.tier_id, NOW, CLOCKS, batch=10)
        leave = in_transaction(sessions, lambda session: waitlist.leave(session, entry.id, person_of(entry), NOW))
        rival = Rival(engine, leave)
        rival.until_it_waits()
        consumer.commit()
    rival.join(10)
    found, order = read(sessions, entry)
    assert rival.error is None
    assert (found.status, order.stage, order.reason) == (
        WaitlistStatus.DECLINED,
        OrderStage.CLOSED,
        OrderReason.DECLINED,
    )
