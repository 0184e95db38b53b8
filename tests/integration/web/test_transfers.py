import re

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.mail_links import transfer_path
from domain.models import Event, Ticket, TicketTransfer, User
from domain.rules.states import OrderStage, TransferStatus, UserRole
from tests.factories import OrderFactory, PromoterFactory, TicketTransferFactory, UserFactory, bound_to

API = "/api/v1"
FRIEND = "grace@example.com"
BODY = {"email": FRIEND, "name": "Grace Hopper"}


@pytest.fixture
def people(sessions):
    """Return a holder, the friend that tickets are offered to, and an admin."""
    with sessions.begin() as session, bound_to(session):
        return {
            "holder": UserFactory(),
            "friend": UserFactory(email=FRIEND),
            "admin": UserFactory(role=UserRole.ADMIN),
            "promoter": PromoterFactory().user,
        }


@pytest.fixture
def ticket(sessions, people):
    with sessions.begin() as session, bound_to(session):
        order = OrderFactory(stage=OrderStage.COMPLETE, user=session.get_one(User, people["holder"].id))
        return session.scalars(select(Ticket).where(Ticket.order_id == order.id)).one()


@pytest.fixture
def offered(sessions, ticket):
    with sessions.begin() as session, bound_to(session):
        return TicketTransferFactory(
            ticket=session.get_one(Ticket, ticket.id),
            sender_id=ticket.holder_id,
            sender=session.get_one(User, ticket.holder_id),
            recipient_email=FRIEND,
        )


@pytest.fixture
def mine(log_in, people):
    return log_in(people["holder"])


@pytest.fixture
def friends(log_in, people):
    return log_in(people["friend"])


@pytest.fixture
def strangers(client, log_in, people):
    """Return the clients of everybody whom a transfer does not concern, with what they are told."""
    return [(client, 401), (log_in(people["promoter"]), 404), (log_in(people["admin"]), 404)]


def offer(client, ticket, body=None, key=None):
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"{API}/tickets/{ticket.id}/transfer", json=BODY if body is None else body, headers=headers)


def told(answer):
    assert answer.mimetype == "application/problem+json"
    return answer.status_code, answer.json["code"]


def status(sessions, transfer):
    with sessions() as session:
        return session.get_one(TicketTransfer, transfer.id).status


class TestOffer:
    def test_says_where_the_transfer_is_and_what_can_be_done(self, mine, friends, ticket):
        answer = offer(mine, ticket)
        assert answer.status_code == 201
        body, here = answer.json, answer.headers["Location"]
        assert (body["direction"], body["status"], body["recipient_email"]) == ("sent", "pending", FRIEND)
        assert body["links"] == {
            "self": here,
            "ticket": f"{API}/tickets/{ticket.id}",
            "accept": None,
            "decline": None,
            "cancel": f"{here}/cancel",
        }
        assert mine.get(here).json == body
        received = friends.get(here).json
        assert (received["direction"], received["links"]["cancel"]) == ("received", None)
        assert received["links"]["accept"] == f"{here}/accept"
        assert ticket.code not in str(received)

    def test_a_key_makes_a_repetition_harmless(self, mine, ticket):
        first, second = offer(mine, ticket, key="t-1"), offer(mine, ticket, key="t-1")
        assert (second.status_code, second.json["id"]) == (201, first.json["id"])
        assert second.headers["Idempotent-Replayed"] == "true"
        assert told(offer(mine, ticket, {"email": "edsger@example.com"}, key="t-1")) == (422, "idempotency-key-reused")
        assert told(offer(mine, ticket)) == (409, "transfer-pending")

    @pytest.mark.parametrize("body", [{}, {"email": "nobody"}, {"email": FRIEND, "name": ""}, {**BODY, "code": "x"}])
    def test_bodies_are_checked(self, mine, ticket, body):
        assert told(offer(mine, ticket, body)) == (422, "validation-failed")

    def test_it_is_for_the_holder(self, strangers, friends, ticket):
        for client, expected in [*strangers, (friends, 404)]:
            assert offer(client, ticket).status_code == expected
            assert client.delete(f"{API}/tickets/{ticket.id}/transfer").status_code == expected


class TestAnswer:
    def test_accepting_moves_the_ticket_between_the_two_lists(self, mine, friends, ticket, offered):
        for _ in range(2):
            answer = friends.post(f"{API}/transfers/{offered.id}/accept")
            assert (answer.status_code, answer.json["status"]) == (200, "accepted")
        assert friends.get(answer.json["links"]["ticket"]).json["code"] != ticket.code
        assert mine.get(f"{API}/tickets").json["items"] == []
        assert mine.get(f"{API}/tickets/{ticket.id}").status_code == 404
        shown = mine.get(f"{API}/transfers/{offered.id}").json
        assert (shown["status"], shown["links"]["ticket"]) == ("accepted", None)

    def test_the_buyers_order_no_longer_tells_whose_it_is(self, mine, friends, ticket, offered, log_in, sessions):
        friends.post(f"{API}/transfers/{offered.id}/accept")
        (shown,) = mine.get(f"{API}/orders/{ticket.order_id}").json["tickets"]
        assert (shown["attendee_name"], shown["link"], shown["status"]) == (None, None, "valid")
        assert friends.get(f"{API}/orders/{ticket.order_id}").status_code == 404
        with sessions() as session:
            promoter = session.get_one(Event, ticket.event_id).promoter_id
            seller = session.scalars(select(User).where(User.promoter.has(id=promoter))).one()
        assert log_in(seller).get(f"{API}/orders/{ticket.order_id}").json["tickets"][0]["attendee_name"]

    @pytest.mark.parametrize(
        ("act", "who", "after"), [("decline", "friend", "declined"), ("cancel", "holder", "cancelled")]
    )
    def test_it_may_come_to_nothing(self, log_in, people, offered, friends, act, who, after):
        for _ in range(2):
            answer = log_in(people[who]).post(f"{API}/transfers/{offered.id}/{act}")
            assert (answer.status_code, answer.json["status"]) == (200, after)
        assert told(friends.post(f"{API}/transfers/{offered.id}/accept")) == (409, "transfer-closed")

    def test_keeping_a_ticket_is_repeatable(self, mine, ticket, offered, sessions):
        for _ in range(2):
            assert mine.delete(f"{API}/tickets/{ticket.id}/transfer").status_code == 204
        assert status(sessions, offered) is TransferStatus.CANCELLED

    def test_to_everybody_else_there_is_none(self, strangers, mine, friends, offered, sessions):
        here = f"{API}/transfers/{offered.id}"
        for client, expected in strangers:
            assert client.get(here).status_code == expected
            for act in ("accept", "decline", "cancel"):
                assert client.post(f"{here}/{act}").status_code == expected
        assert told(friends.post(f"{here}/cancel")) == (404, "not-found")
        assert told(mine.post(f"{here}/accept")) == (404, "not-found")
        assert told(mine.get(f"{API}/transfers/{uuid7()}")) == (404, "not-found")
        assert status(sessions, offered) is TransferStatus.PENDING

    def test_an_address_must_be_proven(self, friends, people, offered, sessions):
        with sessions.begin() as session:
            friend = session.get_one(User, people["friend"].id)
            friend.email_verified, friend.email_verified_at = False, None
        assert told(friends.post(f"{API}/transfers/{offered.id}/accept")) == (409, "email-unverified")
        assert friends.get(f"{API}/transfers").json["items"] == []


def test_lists_are_paged_and_ones_own(client, mine, friends, ticket):
    for _ in range(3):
        made = offer(mine, ticket).json["id"]
        mine.post(f"{API}/transfers/{made}/cancel")
    for person in (mine, friends):
        first = person.get(f"{API}/transfers", query_string={"limit": 2}).json
        rest = person.get(f"{API}/transfers", query_string={"limit": 2, "cursor": first["next_cursor"]}).json
        assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
        assert first["items"][0]["id"] == made
    assert client.get(f"{API}/transfers").status_code == 401


class TestPage:
    @pytest.fixture
    def path(self, services, offered):
        return transfer_path(services.tokens, offered.id)

    def press(self, client, path, choice, token=None):
        here, _, own = path.partition("?token=")
        return client.post(here, data={"token": own if token is None else token, "answer": choice})

    def test_shows_the_ticket_and_two_buttons_and_changes_nothing(self, client, path, offered, ticket, sessions):
        response = client.get(f"{path}&answer=accept")
        page = response.get_data(as_text=True)
        assert response.status_code == 200
        assert re.findall(r'name="answer" value="([^"]+)"', page) == ["accept", "decline"]
        assert response.headers["Cache-Control"] == "private, no-store"
        assert ticket.code not in page
        assert status(sessions, offered) is TransferStatus.PENDING

    @pytest.mark.parametrize(
        ("choice", "words", "after"),
        [("accept", "The ticket is yours", "accepted"), ("decline", "You declined the ticket", "declined")],
    )
    def test_its_buttons_act_for_the_account_of_the_address(
        self, client, path, offered, people, sessions, choice, words, after
    ):
        response = self.press(client, path, choice)
        assert (response.status_code, response.headers["Location"]) == (303, path)
        page = client.get(path).get_data(as_text=True)
        assert words in page
        assert "<form" not in page
        assert status(sessions, offered) == after
        with sessions() as session:
            holder = session.get_one(Ticket, offered.ticket_id).holder_id
        assert holder == people["friend" if choice == "accept" else "holder"].id

    def test_without_a_proven_account_it_says_what_to_do(self, client, path, people, offered, sessions):
        with sessions.begin() as session:
            friend = session.get_one(User, people["friend"].id)
            friend.email_verified, friend.email_verified_at = False, None
        page = client.get(path).get_data(as_text=True)
        assert "Sign up with this address" in page
        assert "<form" not in page
        assert self.press(client, path, "accept").status_code == 409
        assert status(sessions, offered) is TransferStatus.PENDING

    @pytest.mark.parametrize("token", ["", "x" * 43, "\N{SNOWMAN}"])
    def test_a_wrong_token_neither_shows_nor_acts(self, client, path, offered, sessions, token):
        here = path.partition("?")[0]
        assert client.get(here, query_string={"token": token}).status_code == 404
        assert self.press(client, path, "accept", token=token).status_code == 404
        assert status(sessions, offered) is TransferStatus.PENDING

    def test_when_nothing_stands_it_says_so(self, client, path, mine, offered, clock):
        assert self.press(client, path, "shred").status_code == 422
        clock.advance(days=8)
        assert "The offer has expired" in client.get(path).get_data(as_text=True)
        late = self.press(client, path, "accept")
        assert (late.status_code, "has expired" in late.get_data(as_text=True)) == (409, True)
