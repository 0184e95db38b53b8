import time
from threading import Thread

import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from domain.models import Order, OrderItem, User
from domain.rules.states import OrderStage, UserRole
from tests.factories import OrderFactory, PromoterFactory, TicketTierFactory, UserFactory, bound_to
from web.long_polls import WaitingRoom
from web.polling import asked_to_wait

ORDERS = "/api/v1/orders"


@pytest.fixture
def buyer(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


@pytest.fixture
def mine(log_in, buyer):
    return log_in(buyer)


@pytest.fixture
def make(sessions, buyer):
    def make(stage=OrderStage.QUEUED, **values):
        with sessions.begin() as session:
            return OrderFactory(session=session, **{"stage": stage, "user": buyer, **values})

    return make


@pytest.fixture
def make_line(sessions, buyer):
    def make_line(count, **values):
        """Return so many of the buyer's orders in the line of one new tier."""
        with sessions.begin() as session, bound_to(session):
            tier, user = TicketTierFactory(**values), session.get_one(User, buyer.id)
            return [OrderFactory(tier=tier, user=user) for _ in range(count)]

    return make_line


def poll(client, order, **headers):
    return client.get(f"{ORDERS}/{order.id}", headers={name.replace("_", "-"): text for name, text in headers.items()})


def move(sessions, order, stage=OrderStage.AWAITING_APPROVAL):
    with sessions.begin() as session:
        session.execute(update(Order).where(Order.id == order.id).values(stage=stage))


class TestPoll:
    def test_an_order_that_has_not_changed_is_answered_with_304(self, mine, make):
        order = make()
        first = poll(mine, order)
        second = poll(mine, order, If_None_Match=first.headers["ETag"])
        assert (first.status_code, second.status_code, second.data) == (200, 304, b"")
        assert second.headers["ETag"] == first.headers["ETag"]
        assert int(second.headers["Retry-After"]) >= 1
        assert second.headers["Cache-Control"] == first.headers["Cache-Control"] == "private, no-store"

    @pytest.mark.parametrize("match", ["*", 'W/"other", {tag}', "{bare}"])
    def test_tags_are_compared_as_the_rfc_says(self, mine, make, match):
        order = make()
        tag = poll(mine, order).headers["ETag"]
        sent = match.format(tag=tag, bare=tag.removeprefix("W/"))
        assert poll(mine, order, If_None_Match=sent).status_code == 304

    def test_the_tag_does_not_cover_the_servers_time(self, mine, make, clock):
        order = make()
        first = poll(mine, order)
        clock.advance(seconds=5)
        second = poll(mine, order)
        assert first.json["server_time"] != second.json["server_time"]
        assert first.headers["ETag"] == second.headers["ETag"]

    def test_the_tag_changes_with_the_order_and_with_its_place(self, mine, make_line, sessions):
        ahead, order = make_line(2)
        tags = [poll(mine, order).headers["ETag"]]
        with sessions.begin() as session:
            session.execute(update(OrderItem).where(OrderItem.order_id == ahead.id).values(inventory_state="reserved"))
        tags.append(poll(mine, order).headers["ETag"])
        move(sessions, order)
        tags.append(poll(mine, order).headers["ETag"])
        assert len(set(tags)) == 3

    def test_the_place_in_line_is_shown(self, mine, make_line):
        _, order = make_line(2, service_rate=2.0)
        assert poll(mine, order).json["queue"] == {
            "position": 2,
            "ahead": 1,
            "eta_seconds": 1,
            "outlook": "covered",
            "paused": False,
        }

    def test_an_ended_order_needs_no_further_look(self, mine, make):
        for stage in (OrderStage.COMPLETE, OrderStage.CLOSED):
            assert "Retry-After" not in poll(mine, make(stage)).headers

    def test_the_client_secret_is_for_the_buyer_only(self, mine, make, log_in, sessions):
        order = make(OrderStage.AWAITING_PAYMENT)
        with sessions.begin() as session, bound_to(session):
            admin = UserFactory(role=UserRole.ADMIN)
        own = poll(mine, order).json["payment"]
        assert own["provider"] == "stripe"
        assert own["client_secret"] == f"{own['intent_id']}_secret_test"
        for other in (admin, order.event.promoter.user):
            payment = poll(log_in(other), order).json["payment"]
            assert (payment["intent_id"], payment["client_secret"]) == (own["intent_id"], None)

    def test_nor_for_the_buyer_once_it_cannot_be_used(self, mine, make):
        assert poll(mine, make(OrderStage.COMPLETE)).json["payment"]["client_secret"] is None

    def test_tickets_and_hold_are_shown_where_there_are_some(self, mine, make):
        complete = poll(mine, make(OrderStage.COMPLETE, quantity=2)).json
        assert [ticket["ready"] for ticket in complete["tickets"]] == [True, True]
        assert complete["tickets"][0]["link"] == f"/api/v1/tickets/{complete['tickets'][0]['id']}"
        assert complete["links"]["cancel"] is None
        paying = poll(mine, make(OrderStage.AWAITING_PAYMENT)).json
        assert paying["hold"]["expires_at"].endswith("Z")
        assert paying["links"]["confirm"]

    @pytest.mark.parametrize("stage", [OrderStage.HELD, OrderStage.EXPIRING])
    def test_no_deadline_is_shown_before_it_holds(self, mine, make, stage):
        order = make(stage)
        assert order.hold_expires_at or stage is OrderStage.EXPIRING
        assert poll(mine, order).json["hold"] is None

    def test_unknown_and_foreign_orders_look_alike(self, make, log_in, sessions, client):
        order = make()
        with sessions.begin() as session, bound_to(session):
            strangers = [UserFactory(), PromoterFactory().user]
        for stranger in map(log_in, strangers):
            foreign = poll(stranger, order)
            unknown = stranger.get(f"{ORDERS}/{uuid7()}")
            assert (foreign.status_code, foreign.json["code"]) == (404, "not-found")
            assert {**foreign.json, "instance": ""} == {**unknown.json, "instance": ""}
        assert poll(client, order).status_code == 401
        assert log_in(strangers[0]).get(f"{ORDERS}/no-uuid").status_code == 404


class TestPreferWait:
    def ask(self, client, order, **headers):
        """Poll from another thread; return it and where the answer and its time will be."""
        answers = []

        def run():
            started = time.monotonic()
            answers.append((poll(client, order, **headers), time.monotonic() - started))

        thread = Thread(target=run)
        thread.start()
        return thread, answers

    @pytest.mark.parametrize("knows", [True, False])
    def test_the_answer_comes_when_the_order_moves(self, mine, make, sessions, services, knows):
        order = make()
        headers = {"If_None_Match": poll(mine, order).headers["ETag"]} if knows else {}
        thread, answers = self.ask(mine, order, Prefer="wait=15", **headers)
        seats = services.waiting_room._seats
        deadline = time.monotonic() + 5
        while seats._value == services.settings.web_threads // 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        move(sessions, order)
        thread.join(10)
        ((answer, seconds),) = answers
        assert (answer.status_code, answer.json["stage"]) == (200, "awaiting_approval")
        assert answer.headers["Preference-Applied"] == "wait=15"
        assert seconds < 10

    def test_after_the_time_it_says_that_nothing_changed(self, mine, make):
        order = make()
        tag = poll(mine, order).headers["ETag"]
        started = time.monotonic()
        answer = poll(mine, order, If_None_Match=tag, Prefer="respond-async, wait=1")
        assert 1 <= time.monotonic() - started < 4
        assert (answer.status_code, answer.headers["Preference-Applied"]) == (304, "wait=1")

    def test_whoever_knows_an_older_state_is_answered_at_once(self, mine, make):
        started = time.monotonic()
        answer = poll(mine, make(), If_None_Match='W/"older"', Prefer="wait=10")
        assert time.monotonic() - started < 5
        assert answer.status_code == 200
        assert "Preference-Applied" not in answer.headers

    def test_so_is_who_asks_about_an_order_that_ended(self, mine, make):
        order = make(OrderStage.CLOSED)
        tag = poll(mine, order).headers["ETag"]
        started = time.monotonic()
        assert poll(mine, order, If_None_Match=tag, Prefer="wait=10").status_code == 304
        assert time.monotonic() - started < 5

    def test_when_a_quarter_of_the_threads_wait_the_next_is_answered_at_once(self, mine, make, services):
        order = make()
        tag = poll(mine, order).headers["ETag"]
        room = services.waiting_room
        seats = services.settings.web_threads // 4
        assert all(room._seats.acquire(blocking=False) for _ in range(seats))
        started = time.monotonic()
        answer = poll(mine, order, If_None_Match=tag, Prefer="wait=10")
        assert time.monotonic() - started < 5
        assert answer.status_code == 304
        assert "Preference-Applied" not in answer.headers
        room._seats.release(seats)

    def test_all_who_wait_are_looked_for_at_once(self, mine, make, sessions, services, monkeypatch):
        looks, take_pulses = [], services.waiting_room._take_pulses
        monkeypatch.setattr(
            services.waiting_room, "_take_pulses", lambda ids: looks.append(set(ids)) or take_pulses(ids)
        )
        orders = [make() for _ in range(3)]
        asked = [self.ask(mine, order, Prefer="wait=15") for order in orders]
        everybody = {order.id for order in orders}
        deadline = time.monotonic() + 10
        while everybody not in looks and time.monotonic() < deadline:
            time.sleep(0.01)
        assert everybody in looks
        for order, (thread, answers) in zip(orders, asked, strict=True):
            move(sessions, order)
            thread.join(10)
            assert answers[0][0].json["stage"] == "awaiting_approval"

    def test_nobody_is_looked_for_once_nobody_waits(self, mine, make, services):
        room = services.waiting_room
        for _ in range(2):
            assert poll(mine, make(), Prefer="wait=1").status_code == 200
            deadline = time.monotonic() + 10
            while room._is_watched and time.monotonic() < deadline:
                time.sleep(0.01)
            assert (room._is_watched, room._guests) == (False, set())

    def test_trouble_ends_the_wait_and_every_seat_is_given_back(self, mine, make, services, monkeypatch):
        order = make()

        def fail(*_):
            raise RuntimeError("the database went away")

        room = services.waiting_room
        seats = room._seats._value
        monkeypatch.setattr(room, "_take_pulses", fail)
        started = time.monotonic()
        assert poll(mine, order, Prefer="wait=15").status_code == 200
        assert time.monotonic() - started < 10
        assert room._seats._value == seats

    def test_a_server_of_few_threads_lets_nobody_wait(self):
        assert not WaitingRoom(0, {}.get).wait_for_change(uuid7(), "seen", 10)

    @pytest.mark.parametrize(
        "preference", ["wait=99999999", "wait=-5", "wait=x", "wait", "return=minimal", "waiting=5"]
    )
    def test_other_preferences_are_ignored(self, mine, make, preference):
        started = time.monotonic()
        assert poll(mine, make(), Prefer=preference).status_code == 200
        assert time.monotonic() - started < 5

    def test_nobody_waits_longer_than_the_limit(self, app):
        with app.test_request_context(headers={"Prefer": "wait=3600"}):
            assert asked_to_wait() == 20


class TestList:
    def test_shows_ones_own_orders_newest_first_page_by_page(self, mine, make, sessions):
        orders = [make() for _ in range(3)] + [make(OrderStage.COMPLETE)]
        with sessions.begin() as session:
            OrderFactory(session=session)
        seen, cursor = [], None
        while True:
            page = mine.get(ORDERS, query_string={"limit": 3} | ({"cursor": cursor} if cursor else {})).json
            seen += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert [item["id"] for item in seen] == [str(order.id) for order in reversed(orders)]
        assert (len(seen[0]["tickets"]), seen[1]["queue"]["position"]) == (1, 1)

    def test_nobody_has_any_at_first(self, mine):
        answer = mine.get(ORDERS)
        assert answer.json == {"items": [], "next_cursor": None}
        assert answer.headers["Cache-Control"] == "private, no-store"

    @pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"cursor": "x"}, {"status": "held"}])
    def test_refuses_arguments_that_make_no_sense(self, mine, query):
        answer = mine.get(ORDERS, query_string=query)
        assert (answer.status_code, answer.json["code"]) == (422, "validation-failed")
        assert answer.json["errors"][0]["pointer"] == f"/{next(iter(query))}"
