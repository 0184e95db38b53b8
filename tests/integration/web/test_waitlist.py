import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload
from uuid_utils.compat import uuid7

from domain.messages import OpenPayment, ServeTier
from domain.models import Event, Promoter, Waitlist
from domain.rules.states import TeamRight, UserRole, WaitlistStatus
from tests.factories import (
    EventFactory,
    PromoterFactory,
    TeamMemberFactory,
    TicketTierFactory,
    UserFactory,
    WaitlistFactory,
    bound_to,
)

WAITLIST = "/api/v1/waitlist"
KEY = "Idempotency-Key"


@pytest.fixture
def person(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


@pytest.fixture
def mine(log_in, person):
    return log_in(person)


@pytest.fixture
def stranger(log_in, sessions):
    with sessions.begin() as session:
        return log_in(UserFactory(session=session))


@pytest.fixture
def make_tier(sessions):
    def make_tier(**values):
        with sessions.begin() as session:
            return TicketTierFactory(session=session, **{"quantity": 0, **values})

    return make_tier


@pytest.fixture
def offer(sessions):
    with sessions.begin() as session:
        return WaitlistFactory(session=session, status=WaitlistStatus.OFFERED)


@pytest.fixture
def invited(log_in, offer):
    """Return the client of the person who has the offer."""
    return log_in(offer.user)


def join(client, tier, quantity=1, key=None, **more):
    body = {"tier_id": str(tier.id), "quantity": quantity, **more}
    return client.post(f"/api/v1/events/{tier.event_id}/waitlist", json=body, headers={KEY: key} if key else {})


def told(answer):
    assert answer.mimetype == "application/problem+json"
    return answer.status_code, answer.json["code"], [error["pointer"] for error in answer.json.get("errors", [])]


class TestJoin:
    def test_takes_a_place_and_shows_it(self, mine, stranger, make_tier, announced):
        tier = make_tier()
        join(stranger, tier)
        answer = join(mine, tier, 2)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{WAITLIST}/{answer.json['id']}"
        body = answer.json
        assert (body["status"], body["quantity"], body["position"], body["offer"]) == ("waiting", 2, 2, None)
        assert (body["tier_id"], body["tier_name"]) == (str(tier.id), tier.name)
        assert mine.get(answer.headers["Location"]).json == body
        assert announced == [ServeTier(tier.id)] * 2

    def test_whoever_comes_back_takes_a_new_number(self, mine, stranger, make_tier):
        tier = make_tier()
        first = join(mine, tier).json
        join(stranger, tier)
        mine.delete(f"{WAITLIST}/{first['id']}")
        again = join(mine, tier).json
        assert (again["id"], again["position"]) == (first["id"], 2)
        assert again["sequence"] > first["sequence"]

    def test_a_key_makes_a_repetition_harmless(self, mine, make_tier, sessions):
        tier = make_tier()
        first, second = join(mine, tier, key="w-1"), join(mine, tier, key="w-1")
        assert (second.status_code, second.json["id"]) == (201, first.json["id"])
        assert second.headers["Location"] == first.headers["Location"]
        assert second.headers["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first.headers
        assert told(join(mine, tier, 2, key="w-1")) == (422, "idempotency-key-reused", [])
        assert told(join(mine, tier, key="a b")) == (400, "idempotency-key-malformed", [])
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(Waitlist)) == 1

    def test_without_one_the_second_is_told_that_it_waits_already(self, mine, make_tier):
        tier = make_tier()
        join(mine, tier)
        assert told(join(mine, tier)) == (409, "already-waiting", [])

    @pytest.mark.parametrize(
        ("tier", "quantity", "expected"),
        [
            ({"quantity": 5}, 1, (409, "not-sold-out", [])),
            ({"max_per_order": 2}, 3, (409, "limit-exceeded", ["/quantity"])),
            ({"is_active": False}, 1, (409, "sale-closed", [])),
            ({}, 0, (422, "validation-failed", ["/quantity"])),
            ({}, 2**31, (422, "validation-failed", ["/quantity"])),
            ({}, "1", (422, "validation-failed", ["/quantity"])),
        ],
    )
    def test_refusals(self, mine, make_tier, tier, quantity, expected):
        assert told(join(mine, make_tier(**tier), quantity)) == expected

    def test_a_tier_of_another_event_or_none(self, mine, make_tier, sessions):
        tier = make_tier()
        with sessions.begin() as session, bound_to(session):
            private, elsewhere = TicketTierFactory(quantity=0, event=EventFactory(is_private=True)), EventFactory()
        body = {"tier_id": str(tier.id)}
        for answer in (
            mine.post(f"/api/v1/events/{elsewhere.id}/waitlist", json=body),
            mine.post(f"/api/v1/events/{uuid7()}/waitlist", json=body),
            join(mine, private),
        ):
            assert told(answer) == (422, "validation-failed", ["/tier_id"])

    def test_bodies_and_people_are_checked(self, mine, client, make_tier):
        tier = make_tier()
        url = f"/api/v1/events/{tier.event_id}/waitlist"
        assert told(join(mine, tier, colour="red")) == (422, "validation-failed", ["/colour"])
        assert told(mine.post(url, data="{", content_type="application/json"))[:2] == (400, "malformed-json")
        assert told(mine.post(url, data="x", content_type="text/plain"))[:2] == (415, "unsupported-media-type")
        assert told(join(client, tier))[:2] == (401, "unauthenticated")
        assert mine.post("/api/v1/events/x/waitlist", json={}).status_code == 404


class TestReading:
    def test_lists_ones_own_newest_first_page_by_page(self, mine, stranger, make_tier):
        ids = [join(mine, make_tier()).json["id"] for _ in range(3)]
        join(stranger, make_tier())
        first = mine.get(WAITLIST, query_string={"limit": 2}).json
        second = mine.get(WAITLIST, query_string={"limit": 2, "cursor": first["next_cursor"]}).json
        assert [entry["id"] for entry in first["items"] + second["items"]] == ids[::-1]
        assert second["next_cursor"] is None
        assert told(mine.get(WAITLIST, query_string={"cursor": "x"}))[2] == ["/cursor"]

    def test_an_offer_says_until_when_and_what_to_do(self, invited, offer):
        body = invited.get(f"{WAITLIST}/{offer.id}").json
        assert (body["status"], body["position"]) == ("offered", None)
        assert body["offer"]["order_id"] == str(offer.offered_order_id)
        assert body["offer"]["expires_at"].endswith("Z")
        assert body["offer"]["accept"] == f"{WAITLIST}/{offer.id}/accept"
        assert invited.get(f"/api/v1/orders/{body['offer']['order_id']}").json["stage"] == "offered"

    def test_to_others_there_is_none(self, stranger, offer):
        url = f"{WAITLIST}/{offer.id}"
        for answer in (
            stranger.get(url),
            stranger.delete(url),
            stranger.post(f"{url}/accept"),
            stranger.post(f"{url}/decline"),
            stranger.get(f"{WAITLIST}/{uuid7()}"),
        ):
            assert told(answer) == (404, "not-found", [])


class TestAnswering:
    def test_accepting_leads_to_the_order(self, invited, offer, announced):
        for _ in range(2):
            answer = invited.post(f"{WAITLIST}/{offer.id}/accept")
            assert (answer.status_code, answer.json["status"]) == (202, "accepted")
            assert answer.headers["Location"] == f"/api/v1/orders/{offer.offered_order_id}"
        assert invited.get(answer.headers["Location"]).json["stage"] == "held"
        assert announced == [OpenPayment(offer.offered_order_id)]

    def test_declining_hands_it_on(self, invited, offer, announced):
        for _ in range(2):
            answer = invited.post(f"{WAITLIST}/{offer.id}/decline")
            assert (answer.status_code, answer.json["status"], answer.json["offer"]) == (202, "declined", None)
        assert announced == [ServeTier(offer.tier_id)]
        assert told(invited.post(f"{WAITLIST}/{offer.id}/accept"))[:2] == (409, "no-offer")

    def test_after_its_clock_it_is_gone(self, invited, offer, clock):
        clock.advance(hours=2)
        assert told(invited.post(f"{WAITLIST}/{offer.id}/accept"))[:2] == (409, "offer-expired")

    def test_leaving_is_repeatable(self, mine, make_tier):
        entry = join(mine, make_tier()).json
        for _ in range(2):
            answer = mine.delete(f"{WAITLIST}/{entry['id']}")
            assert (answer.status_code, answer.data) == (204, b"")
        assert mine.get(f"{WAITLIST}/{entry['id']}").json["status"] == "left"

    def test_there_must_be_an_offer(self, mine, make_tier):
        entry = join(mine, make_tier()).json
        assert told(mine.post(f"{WAITLIST}/{entry['id']}/accept"))[:2] == (409, "no-offer")
        assert told(mine.post(f"{WAITLIST}/{entry['id']}/decline"))[:2] == (409, "no-offer")


class TestTheSellersList:
    def test_shows_everybody_in_the_order_of_the_line(self, sessions, log_in, offer):
        with sessions.begin() as session, bound_to(session):
            event = session.get_one(Event, offer.event_id)
            tier = TicketTierFactory(event=event, quantity=0)
            ended = WaitlistFactory(tier=tier, status=WaitlistStatus.EXPIRED, unoffered_reason="the sale has ended")
            waiting = WaitlistFactory(tier=tier, quantity=3)
            WaitlistFactory()
            member = TeamMemberFactory(promoter_id=event.promoter_id, rights=[TeamRight.SELL]).user
        client, url = log_in(member), f"/api/v1/events/{offer.event_id}/waitlist"
        first = client.get(url, query_string={"limit": 2})
        rest = client.get(url, query_string={"limit": 2, "cursor": first.json["next_cursor"]})
        assert first.headers["Cache-Control"] == "private, no-store"
        assert rest.json["next_cursor"] is None
        entries = first.json["items"] + rest.json["items"]
        assert [entry["id"] for entry in entries] == [str(offer.id), str(ended.id), str(waiting.id)]
        assert [entry["status"] for entry in entries] == ["offered", "expired", "waiting"]
        assert entries[1]["unoffered_reason"] == "the sale has ended"
        assert entries[2]["person"] == {
            "id": str(waiting.user_id),
            "name": waiting.user.full_name,
            "email": waiting.user.email,
        }

    def test_who_may_read_it(self, client, mine, log_in, sessions, offer):
        with sessions.begin() as session, bound_to(session):
            event = session.get_one(Event, offer.event_id)
            scanner = TeamMemberFactory(promoter_id=event.promoter_id, rights=[TeamRight.SCAN, TeamRight.MANAGE]).user
            other, admin = PromoterFactory().user, UserFactory(role=UserRole.ADMIN)
            owner = session.get_one(Promoter, event.promoter_id, options=[joinedload(Promoter.user)]).user
        url = f"/api/v1/events/{offer.event_id}/waitlist"
        expected = [(client, 401), (mine, 403), (log_in(other), 403), (log_in(scanner), 403)]
        for who, status in [*expected, (log_in(owner), 200), (log_in(admin), 200)]:
            assert who.get(url).status_code == status
        assert log_in(admin).get(f"/api/v1/events/{uuid7()}/waitlist").status_code == 404
