import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from domain.mail_links import offer_path, order_path
from domain.messages import OpenPayment, ServeTier
from domain.models import AuditLog, Order, User, Waitlist
from domain.one_time_tokens import TokenKeyring
from domain.rules.states import OrderReason, OrderStage, WaitlistStatus
from tests.factories import EventFactory, TicketTierFactory, WaitlistFactory, bound_to

SCRIPT = "<script>alert(1)</script>"
EXPIRED = {"offer_expires_at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC)}


@pytest.fixture
def make(sessions):
    """Return a maker of waitlist entries for a tier in Copenhagen."""

    def make(status="offered", *, title="Nordic Noise", name="Balcony", **values):
        with sessions.begin() as session, bound_to(session):
            event = EventFactory(title=title, timezone="Europe/Copenhagen", currency="EUR")
            tier = TicketTierFactory(event=event, name=name, price=4_500, quantity=2)
            entry = WaitlistFactory(**{"status": status, "tier": tier, "quantity": 2, **values})
            if entry.offered_order_id:
                session.get(Order, entry.offered_order_id).hold_expires_at = entry.offer_expires_at
            return entry

    return make


@pytest.fixture
def path(services):
    """Return the link of an entry."""
    return lambda entry: offer_path(services.tokens, entry.id)


@pytest.fixture
def answer(client, path):
    """Press one of the buttons."""

    def answer(entry, choice, token=None):
        link, _, own = path(entry).partition("?token=")
        return client.post(link, data={"token": own if token is None else token, "answer": choice})

    return answer


def read(client, path):
    response = client.get(path)
    assert (response.status_code, response.mimetype) == (200, "text/html")
    return response.get_data(as_text=True)


def states(sessions, entry):
    with sessions() as session:
        row = session.get_one(Waitlist, entry.id)
        order = session.get(Order, row.offered_order_id) if row.offered_order_id else None
        return row.status, order and order.stage


STANDING = (WaitlistStatus.OFFERED, OrderStage.OFFERED)


class TestOffer:
    def test_says_what_is_offered_for_how_much_until_when(self, client, path, make, sessions):
        entry = make(offer_expires_at=datetime(2099, 7, 4, 17, 30, tzinfo=UTC))
        page = read(client, path(entry))
        with sessions() as session:
            total = session.get_one(Order, entry.offered_order_id).total
        for words in ("Nordic Noise", "2 \N{MULTIPLICATION SIGN} Balcony", f"{total / 100:.2f}\N{NO-BREAK SPACE}EUR"):
            assert words in page
        assert "until Saturday 4 July 2099, 19:30 CEST" in page

    def test_asks_by_two_forms_that_post_to_the_same_path(self, client, path, make):
        entry = make()
        page = read(client, path(entry))
        link, _, token = path(entry).partition("?token=")
        assert re.findall(r'<form method="post" action="([^"]+)"', page) == [link, link]
        assert re.findall(r'name="token" value="([^"]+)"', page) == [token, token]
        assert re.findall(r'name="answer" value="([^"]+)"', page) == ["accept", "decline"]

    def test_opening_it_changes_nothing(self, client, path, make, sessions, announced):
        entry = make()
        announced.clear()
        for method in (client.get, client.head):
            for query in ("", "&answer=accept", "&answer=decline"):
                assert method(path(entry) + query).status_code == 200
        assert states(sessions, entry) == STANDING
        assert announced == []

    @pytest.mark.parametrize("path", ["accept", "decline"])
    def test_no_link_acts_by_being_opened(self, client, make, sessions, path):
        entry = make()
        assert client.get(f"/waitlist/{entry.id}/{path}").status_code == 404
        assert states(sessions, entry) == STANDING

    def test_what_people_wrote_cannot_become_markup(self, client, path, make):
        page = read(client, path(make(title=f"Rock {SCRIPT}", name=SCRIPT)))
        assert "<script" not in page
        assert "Rock &lt;script&gt;" in page

    def test_is_kept_passed_on_and_listed_by_nobody(self, client, path, make, answer):
        entry = make()
        for response in (client.get(path(entry)), answer(entry, "accept"), answer(entry, "accept", token="wrong")):
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Cache-Control"] == "private, no-store"
            assert response.headers["X-Robots-Tag"] == "noindex"
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
            assert "Set-Cookie" not in response.headers

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            ("waiting", "You are number 1."),
            ("left", "You left the waitlist"),
            ("declined", "You declined the offer"),
            ("expired", "The waitlist is closed"),
        ],
    )
    def test_without_an_offer_it_says_how_things_are(self, client, path, make, status, words):
        responded = {"response": "declined", "responded_at": datetime.now(UTC)} if status == "declined" else {}
        page = read(client, path(make(status, **responded)))
        assert words in page
        assert "<form" not in page


class TestToken:
    @pytest.mark.parametrize("token", ["", "x" * 43, "\N{SNOWMAN}", "\x00"])
    def test_a_wrong_one_neither_shows_nor_acts(self, client, make, sessions, answer, token):
        entry = make()
        shown = client.get(f"/waitlist/{entry.id}/offer", query_string={"token": token})
        acted = [answer(entry, choice, token=token) for choice in ("accept", "decline")]
        assert [response.status_code for response in (shown, *acted)] == [404, 404, 404]
        assert shown.data == acted[0].data == client.get(f"/waitlist/{uuid7()}/offer").data
        assert states(sessions, entry) == STANDING

    def test_counts_in_the_form_only(self, client, path, make, sessions):
        entry = make()
        assert client.post(path(entry), data={"answer": "accept"}).status_code == 404
        assert states(sessions, entry) == STANDING

    def test_of_another_row_or_purpose_does_not_act(self, make, services, sessions, answer):
        entry, other = make(), make()
        keyring = services.tokens
        links = [
            offer_path(keyring, other.id),
            order_path(keyring, entry.id),
            order_path(keyring, entry.offered_order_id),
        ]
        foreign = [link.partition("token=")[2] for link in links] + [keyring.token(entry.id, keyring.current)]
        assert [answer(entry, "accept", token=token).status_code for token in foreign] == [404] * 4
        assert states(sessions, entry) == STANDING

    def test_outlives_the_rotation_of_its_key_but_not_its_removal(self, client, make, path, services):
        entry = make()
        kid, key = next(iter(services.tokens.keys.items()))
        link = path(entry)
        services.__dict__["tokens"] = TokenKeyring({"new": b"n" * 32, kid: key})
        assert client.get(link).status_code == 200
        services.__dict__["tokens"] = TokenKeyring({"new": b"n" * 32})
        assert client.get(link).status_code == 404

    def test_of_a_closed_account_does_not_act(self, make, sessions, answer):
        entry = make()
        with sessions.begin() as session:
            session.get_one(User, entry.user_id).is_active = False
        assert answer(entry, "accept").status_code == 404
        assert states(sessions, entry) == STANDING


class TestAnswer:
    def test_accepting_leads_to_the_page_of_the_order(self, client, make, sessions, answer, services, announced):
        entry = make()
        announced.clear()
        response = answer(entry, "accept")
        assert response.status_code == 303
        assert response.headers["Location"] == order_path(services.tokens, entry.offered_order_id)
        assert states(sessions, entry) == (WaitlistStatus.ACCEPTED, OrderStage.HELD)
        assert announced == [OpenPayment(entry.offered_order_id)]
        assert "Your tickets are reserved" in read(client, response.headers["Location"])

    def test_accepting_twice_accepts_once(self, client, make, path, sessions, answer, announced):
        entry = make()
        announced.clear()
        first, second = answer(entry, "accept"), answer(entry, "accept")
        assert (second.status_code, second.headers["Location"]) == (303, first.headers["Location"])
        assert len(announced) == 1
        page = read(client, path(entry))
        assert "You took up the offer" in page
        assert first.headers["Location"] in page
        assert "<form" not in page

    def test_declining_gives_the_tickets_to_the_next(self, client, make, path, sessions, answer, announced):
        entry = make()
        announced.clear()
        response = answer(entry, "decline")
        assert (response.status_code, response.headers["Location"]) == (303, path(entry))
        assert "You declined the offer" in read(client, path(entry))
        assert states(sessions, entry) == (WaitlistStatus.DECLINED, OrderStage.CLOSED)
        with sessions() as session:
            assert session.get_one(Order, entry.offered_order_id).reason is OrderReason.DECLINED
        assert announced == [ServeTier(entry.tier_id)]

    def test_declining_twice_declines_once(self, make, sessions, answer, announced):
        entry = make()
        announced.clear()
        assert [answer(entry, "decline").status_code for _ in range(2)] == [303, 303]
        assert len(announced) == 1

    @pytest.mark.parametrize(("first", "second"), [("accept", "decline"), ("decline", "accept")])
    def test_what_was_answered_stays_so(self, make, sessions, answer, first, second):
        entry = make()
        answer(entry, first)
        before = states(sessions, entry)
        response = answer(entry, second)
        assert (response.status_code, response.mimetype) == (409, "text/html")
        assert wording_of(first) in response.get_data(as_text=True)
        assert states(sessions, entry) == before

    def test_an_expired_offer_says_so_and_cannot_be_accepted(self, client, make, path, sessions, answer):
        entry = make(**EXPIRED)
        page = read(client, path(entry))
        assert "The offer has expired" in page
        assert "Friday 2 January 2026, 04:04 CET" in page
        assert "<form" not in page
        response = answer(entry, "accept")
        assert response.status_code == 409
        assert "The offer has expired" in response.get_data(as_text=True)
        assert states(sessions, entry) == STANDING

    @pytest.mark.parametrize("choice", ["", "ACCEPT", "steal"])
    def test_another_answer_changes_nothing(self, make, sessions, answer, choice):
        entry = make()
        response = answer(entry, choice)
        assert response.status_code == 422
        assert "<form" in response.get_data(as_text=True)
        assert states(sessions, entry) == STANDING

    def test_leaves_what_the_same_answer_by_the_api_leaves(self, make, log_in, sessions, answer):
        by_page, by_api = make(), make()
        answer(by_page, "accept")
        log_in(by_api.user).post(f"/api/v1/waitlist/{by_api.id}/accept")
        with sessions() as session:
            rows = [session.get_one(Waitlist, entry.id) for entry in (by_page, by_api)]
            assert len({(row.status, row.response) for row in rows}) == 1
            assert abs(rows[0].responded_at - rows[1].responded_at) < timedelta(seconds=1)
            logged = [
                session.scalar(select(func.count()).select_from(AuditLog).where(AuditLog.entity_id == row.id))
                for row in rows
            ]
        assert logged[0] == logged[1]

    def test_the_token_is_not_in_the_log(self, make, path, answer, capfd):
        entry = make()
        answer(entry, "accept")
        said = "".join(capfd.readouterr())
        assert "request.done" in said
        assert path(entry).partition("token=")[2] not in said


def wording_of(answer):
    return {"accept": "You took up the offer", "decline": "You declined the offer"}[answer]
