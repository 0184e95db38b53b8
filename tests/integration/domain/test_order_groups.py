from dataclasses import replace
from threading import Thread

import psycopg
import pytest
from sqlalchemy import create_engine, event, func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import sessionmaker
from uuid_utils.compat import uuid7

from adapters.statements import open_statements
from domain.code_terms import read_terms
from domain.errors import InvalidError, KeyReusedError, SoldOutError
from domain.line import find_spots
from domain.messages import ServeTier
from domain.models import Order
from domain.order_groups import accept_together
from domain.orders import accept
from tests.factories import CodeFactory, EventFactory, OrderFactory, TicketTierFactory, WaitlistFactory, bound_to
from tests.integration.domain.purchases import LIMITS, arrival_of, purchase_of
from tests.integration.market import until


@pytest.fixture
def statements(sessions):
    return open_statements(sessions)


@pytest.fixture
def arrive(sessions):
    """Return a way to make arrivals of purchases of one ticket each at a new tier."""

    def arrive(count, **values):
        with sessions.begin() as session, bound_to(session):
            tier = TicketTierFactory(**values)
            return [arrival_of(session, purchase_of((tier, 1), request_id=f"r-{number}")) for number in range(count)]

    return arrive


def accept_all(open_session, arrivals):
    with open_session() as session:
        return accept_together(session, LIMITS, arrivals)


def changed(arrival, **values):
    return replace(arrival, purchase=replace(arrival.purchase, **values))


def count(sessions):
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Order))


def test_a_group_takes_one_statement_and_gives_numbers_in_the_order_of_arrival(
    sessions, statements, arrive, monkeypatch
):
    arrivals, seen, execute = arrive(5), [], psycopg.Connection.execute
    with statements() as session:
        session.execute(text("SELECT 'a connection is there'"))
        monkeypatch.setattr(psycopg.Connection, "execute", lambda *args: seen.append(args[1]) or execute(*args))
    outcomes = accept_all(statements, arrivals)
    monkeypatch.undo()
    assert len(seen) == 1
    numbers = [outcome.placement.sequence for outcome in outcomes]
    assert numbers == sorted(numbers)
    with sessions() as session:
        buyers = {order.id: order.user_id for order in session.scalars(select(Order))}
    assert [buyers[outcome.order_id] for outcome in outcomes] == [arrival.purchase.buyer_id for arrival in arrivals]


def test_a_group_rings_each_tier_once(statements, arrive, announced):
    arrivals = arrive(3) + arrive(2)
    accept_all(statements, arrivals)
    assert announced == [ServeTier(arrivals[index].purchase.wishes[0].tier_id) for index in (0, 3)]


def test_each_is_told_who_goes_first_in_its_lines_and_in_the_group(sessions, statements):
    with sessions.begin() as session, bound_to(session):
        event = EventFactory()
        long, short, other = (TicketTierFactory(event=event) for _ in range(3))
        OrderFactory(tier=long, quantity=2)
        WaitlistFactory(tier=long, quantity=4)
        wishes = [[(long, 3)], [(short, 1)], [(long, 1), (short, 2)], [(long, 1)], [(other, 1)]]
        arrivals = [arrival_of(session, purchase_of(*each)) for each in wishes]
    spots = [outcome.placement.spots for outcome in accept_all(statements, arrivals)]
    ahead = [{spot.tier_id: (spot.ahead.orders, spot.ahead.quantity) for spot in each} for each in spots]
    assert ahead == [
        {long.id: (1, 2)},
        {short.id: (0, 0)},
        {long.id: (2, 5), short.id: (1, 1)},
        {long.id: (3, 6)},
        {other.id: (0, 0)},
    ]
    with sessions() as session:
        polled = find_spots(session, [spot.order_id for each in spots for spot in each])
    at_once = {(spot.order_id, spot.tier_id): replace(spot, still_seconds=0) for spot in polled}
    assert at_once == {(spot.order_id, spot.tier_id): spot for each in spots for spot in each}


def test_each_has_an_outcome_of_its_own(sessions, statements, arrive):
    (known,), fresh, (late,) = arrive(1), arrive(2), arrive(1, quantity=0)
    (first,) = accept_all(statements, [known])
    group = [fresh[0], changed(known), late, changed(known, fingerprint="e" * 64), fresh[1]]
    outcomes = accept_all(statements, group)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        *("Acceptance", "Acceptance", "SoldOutError", "KeyReusedError", "Acceptance")
    ]
    assert outcomes[1] == replace(first, placement=None)
    assert not outcomes[0].replayed
    assert isinstance(outcomes[2], SoldOutError)
    assert isinstance(outcomes[3], KeyReusedError)
    assert count(sessions) == 3


def test_the_same_purchase_twice_in_a_group_is_one_order(sessions, statements, arrive):
    (arrival,) = arrive(1)
    first, second, other = accept_all(statements, [arrival, changed(arrival), changed(arrival, fingerprint="e" * 64)])
    assert (first.replayed, second.replayed, first.order_id == second.order_id) == (False, True, True)
    assert isinstance(other, KeyReusedError)
    assert count(sessions) == 1


def test_one_that_the_database_refuses_hurts_nobody(sessions, statements, arrive, announced):
    good, other, bad = arrive(3)
    nobody = changed(bad, buyer_id=uuid7())
    outcomes = accept_all(statements, [good, nobody, other])
    assert isinstance(outcomes[1], IntegrityError)
    assert not outcomes[0].replayed
    assert not outcomes[2].replayed
    assert count(sessions) == 2
    assert set(announced) == {ServeTier(good.purchase.wishes[0].tier_id)}


@pytest.mark.parametrize("others", [0, 2])
def test_a_code_that_has_been_deleted_since_is_told_to_who_sent_it(sessions, statements, arrive, others):
    late, *rest = arrive(1 + others)
    with sessions.begin() as session, bound_to(session):
        code = CodeFactory(event_id=late.purchase.event_id)
        terms = read_terms(session, code.event_id, code.code)
        session.flush()
        session.delete(code)
    outcome, *accepted = accept_all(statements, [replace(changed(late, code=code.code), code=terms), *rest])
    assert isinstance(outcome, InvalidError)
    assert (outcome.code, outcome.pointer) == ("code-invalid", "/code")
    assert [each.replayed for each in accepted] == [False] * others
    assert count(sessions) == others


def test_alone_it_is_refused_as_it_is(statements, arrive):
    (arrival,) = arrive(1)
    with pytest.raises(IntegrityError):
        accept_all(statements, [changed(arrival, buyer_id=uuid7())])


def test_a_lost_database_is_not_asked_again_for_each(arrive):
    arrivals, tries = arrive(3), []
    # Nothing listens at port 9.
    nowhere = create_engine("postgresql+psycopg://nobody@127.0.0.1:9/none")
    event.listen(nowhere, "do_connect", lambda *_: tries.append(1))
    with pytest.raises(OperationalError):
        accept_all(sessionmaker(nowhere), arrivals)
    assert len(tries) == 1


def test_groups_that_meet_each_others_keys_crosswise_both_get_their_answers(sessions, statements, engine, arrive):
    one, two = arrive(2)
    outcomes = {}

    def other_way():
        outcomes["group"] = accept_all(statements, [two, one])

    with sessions() as winner:
        (first,) = accept(winner, [one], LIMITS)
        group = Thread(target=other_way)
        group.start()
        until(lambda: waiting(engine))
        # The group holds the second key and waits for the first: now we wait for the second, until it gives way.
        (second,) = accept(winner, [two], LIMITS)
        winner.commit()
    group.join(20)
    assert [outcome.order_id for outcome in outcomes["group"]] == [second.order_id, first.order_id]
    assert count(sessions) == 2


def waiting(engine):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
