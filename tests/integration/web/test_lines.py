import threading
import time
from threading import Thread

import pytest
from sqlalchemy import event, update

from domain.allocation import serve
from domain.line import Place
from domain.models import OrderItem, TicketTier
from domain.rules.places import Outlook
from domain.rules.states import OrderStage
from tests.factories import OrderFactory, TicketTierFactory, UserFactory, bound_to
from tests.factories.base import from_now
from tests.integration.market import CLOCKS
from web.lines import KEPT_SECONDS, LINES_KEPT, Lines


class Line:
    """One tier's line in a database, to join, to leave and to ask about."""

    def __init__(self, sessions):
        self._sessions = sessions
        with sessions.begin() as session, bound_to(session):
            self._tier, self._user = TicketTierFactory(), UserFactory()

    def join(self, count, **values):
        with self._sessions.begin() as session, bound_to(session):
            tier, user = session.merge(self._tier, load=False), session.merge(self._user, load=False)
            return [OrderFactory(tier=tier, user=user, **values) for _ in range(count)]

    def serve(self, *orders):
        with self._sessions.begin() as session:
            ids, last = [order.id for order in orders], max(order.sequence for order in orders)
            session.execute(update(OrderItem).where(OrderItem.order_id.in_(ids)).values(inventory_state="reserved"))
            session.execute(update(TicketTier).where(TicketTier.id == self._tier.id).values(decided_until=last))

    def cancel(self, *orders):
        """Cancel orders, which the consumer then takes out of the line."""
        with self._sessions.begin() as session:
            ids = [order.id for order in orders]
            session.execute(update(OrderItem).where(OrderItem.order_id.in_(ids)).values(desired_state="released"))
        with self._sessions.begin() as session:
            session.get_one(TicketTier, self._tier.id).is_paused = True
        with self._sessions.begin() as session:
            serve(session, self._tier.id, from_now(), CLOCKS, batch=100)


@pytest.fixture
def line(sessions):
    return Line(sessions)


@pytest.fixture
def now(monkeypatch):
    """Return a clock that a test moves, and by which lines are kept."""
    moments = [100.0]

    def advance(seconds):
        moments[0] += seconds

    advance.read = lambda: moments[0]
    return advance


@pytest.fixture
def short(monkeypatch):
    """Call four people a long line, of which all but the last two numbers are settled."""
    monkeypatch.setattr("domain.line.COUNTED", 4)
    monkeypatch.setattr("web.lines.COUNTED", 4)
    monkeypatch.setattr("domain.whole_line.IN_FLIGHT", 2)


@pytest.fixture
def ask(sessions, now):
    lines = Lines(now.read)

    def ask(order):
        with sessions() as session:
            return lines.find_place(session, order.id)

    ask.lines = lines
    return ask


class TestShortLines:
    def test_are_exact_at_every_moment(self, line, ask):
        orders = line.join(5)
        assert [ask(order).ahead for order in orders] == [0, 1, 2, 3, 4]
        line.serve(*orders[:2])
        assert [ask(order).ahead for order in orders[2:]] == [0, 1, 2]
        assert [ask(order) for order in orders[:2]] == [None, None]


@pytest.mark.usefixtures("short")
class TestLongLines:
    def test_have_the_same_places_as_if_they_were_counted(self, line, ask):
        orders = line.join(12)
        assert [ask(order).ahead for order in orders] == list(range(12))

    def test_are_exact_though_they_are_kept(self, line, ask, now):
        orders = line.join(20)
        assert ask(orders[-3]).ahead == 17
        line.serve(*orders[:3])
        assert [ask(order).ahead for order in orders[-3:]] == [14, 15, 16]
        line.cancel(orders[5], orders[-2])
        assert [ask(orders[6]).ahead, ask(orders[-3]).ahead, ask(orders[-1]).ahead] == [2, 13, 14]
        now(KEPT_SECONDS)
        assert [ask(orders[-3]).ahead, ask(orders[-1]).ahead] == [13, 14]

    def test_are_told_alike_by_every_process_however_old_its_reading_is(self, line, sessions, now):
        orders = line.join(20)
        with sessions() as session:
            readings = [Lines(now.read) for _ in range(6)]
            steps = (
                lambda: line.serve(*orders[:2]),
                lambda: line.cancel(orders[10], orders[19]),
                lambda: line.join(3),
                lambda: line.serve(*orders[2:5]),
                lambda: line.cancel(*orders[11:14]),
            )
            for reading, step in zip(readings, steps, strict=False):
                reading.find_place(session, orders[15].id)
                session.rollback()
                step()
            for order in (orders[9], orders[15], orders[18]):
                assert len({reading.find_place(session, order.id) for reading in readings}) == 1

    def test_that_nobody_serves_are_read_again_when_too_many_have_left(self, line, ask, monkeypatch):
        monkeypatch.setattr("domain.whole_line.WITHDRAWALS_READ", 3)
        orders = line.join(20)
        ask(orders[-1])
        line.cancel(*orders[2:9])
        assert ask(orders[-1]).ahead == 12

    def test_do_not_let_anybody_in_before_those_who_came_between(self, line, ask, now):
        orders = line.join(6)
        ask(orders[-1])
        orders += line.join(6)
        assert [ask(order).ahead for order in orders] == list(range(12))
        now(KEPT_SECONDS)
        assert [ask(order).ahead for order in orders] == list(range(12))

    def test_who_is_no_longer_among_the_first_few_is_never_said_to_be(self, line, ask, now, sessions, monkeypatch):
        orders = [line.join(1, sequence=200_000 + number)[0] for number in range(8)]
        ask(orders[-1])
        # Numbers are given before rows are committed: somebody may come to stand ahead later.
        early = range(100_000, 100_006)
        for sequence in early:
            line.join(1, sequence=sequence)
        assert ask(orders[0]).ahead == 4
        now(KEPT_SECONDS)
        assert ask(orders[0]).ahead == 6
        assert ask(orders[0]).outlook is Outlook.COVERED

    def test_nobodys_place_gets_worse_while_others_come_and_go(self, line, ask, now):
        orders, places = line.join(10), []
        mine = orders[-1]
        for served in orders[:-1]:
            places.append(ask(mine).position)
            line.join(2)
            line.serve(served)
            now(KEPT_SECONDS / 3)
        places.append(ask(mine).position)
        assert places == sorted(places, reverse=True)
        assert (places[0], places[-1]) == (10, 1)

    def test_are_read_once_for_all_who_ask_at_the_same_time(self, line, ask, sessions, engine):
        orders = line.join(10)
        readings, together = [], threading.Barrier(6)

        def count(_connection, _cursor, statement, *_):
            if "int8send" in statement:
                readings.append(statement)
                # The others come while this one reads.
                time.sleep(0.05)

        def run(order):
            together.wait(10)
            places.append(ask(order))

        places = []
        event.listen(engine, "before_cursor_execute", count)
        try:
            threads = [Thread(target=run, args=[order]) for order in orders[4:]]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        finally:
            event.remove(engine, "before_cursor_execute", count)
        assert len(readings) == 1
        assert sorted(place.ahead for place in places) == [4, 5, 6, 7, 8, 9]

    def test_only_so_many_are_kept(self, ask):
        assert ask.lines._kept.maxsize == LINES_KEPT

    def test_moving_up_in_the_line_does_not_end_a_wait(self, line, log_in, services):
        first, *_, mine = line.join(3)
        client = log_in(mine.user)
        path = f"/api/v1/orders/{mine.id}"
        tag = client.get(path).headers["ETag"]
        answers = []

        def run():
            answers.append(client.get(path, headers={"If-None-Match": tag, "Prefer": "wait=1"}))

        thread = Thread(target=run)
        started = time.monotonic()
        thread.start()
        while services.waiting_room._seats._value == services.settings.web_threads // 4:
            assert time.monotonic() < started + 10
            time.sleep(0.01)
        line.serve(first)
        thread.join(10)
        assert time.monotonic() - started >= 1
        (answer,) = answers
        assert (answer.status_code, answer.json["queue"]["position"]) == (200, 2)
        assert answer.headers["Preference-Applied"] == "wait=1"


def test_an_order_that_waits_nowhere_has_no_place(line, ask):
    (held,) = line.join(1, stage=OrderStage.HELD)
    assert ask(held) is None
    (waiting,) = line.join(1)
    assert ask(waiting) == Place(0, None, False, Outlook.COVERED)
