from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from domain.messages import ServeTier
from domain.models import AuditLog, Event, User
from domain.rules.states import EventStatus, UserRole, VerificationStatus
from tests.factories import EventFactory, OrderFactory, PromoterFactory, TicketTierFactory, UserFactory

EVENTS = "/api/v1/events"
STARTS = datetime(2031, 6, 5, 17, tzinfo=UTC)
BODY = {
    "title": "Jazz on the Harbour",
    "starts_at": "2031-06-05T19:00:00+02:00",
    "ends_at": "2031-06-05T21:00:00Z",
    "timezone": "Europe/Copenhagen",
    "capacity": 200,
    "currency": "DKK",
}


def make(rows, factory, **values):
    row = factory(**values)
    rows.commit()
    return row


def code_of(answer):
    return answer.status_code, answer.json["code"]


def pointers(answer):
    return [error["pointer"] for error in answer.json["errors"]]


class TestCreate:
    def test_a_promoter_creates_a_draft(self, seller, promoter):
        answer = seller.post(EVENTS, json=BODY)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{EVENTS}/{answer.json['id']}" == answer.json["links"]["self"]
        assert answer.json["status"] == "draft"
        assert answer.json["starts_at"] == "2031-06-05T17:00:00Z"
        assert (answer.json["fee_rate_bps"], answer.json["fee_fixed"]) == (250, 50)
        assert (answer.json["returns_fees"], answer.json["buyer_refund_hours"]) == (True, None)
        assert answer.json["promoter"] == {"id": str(promoter.id), "name": promoter.company_name}
        assert seller.get(answer.headers["Location"]).json == answer.json

    def test_every_field_comes_back_as_it_was_sent(self, seller):
        full = {
            **BODY,
            "starts_at": "2031-06-05T17:00:00Z",
            "description": "Two\nlines",
            "category": "music",
            "tags": ["jazz", "open air"],
            "doors_at": "2031-06-05T16:00:00Z",
            "venue_name": "Refshaleøen",
            "address_line1": "Refshalevej 171",
            "address_line2": "Hal 2",
            "city": "København",
            "region": "Hovedstaden",
            "postal_code": "1432",
            "country": "DK",
            "latitude": 55.6927,
            "longitude": 12.6146,
            "image_url": "https://example.com/a.jpg",
            "is_private": True,
            "is_featured": False,
            "absorbs_fees": True,
            "tax_rate_bps": 2500,
            "offer_seconds": 600,
            "buyer_refund_hours": 48,
            "skips_large_groups": False,
        }
        body = seller.post(EVENTS, json=full).json
        assert {name: body[name] for name in full} == full
        assert body["location"] == "Refshaleøen, København, Hovedstaden, DK"

    def test_it_needs_a_promoter_profile(self, rows, log_in):
        lonely = make(rows, UserFactory, role=UserRole.PROMOTER)
        assert code_of(log_in(lonely).post(EVENTS, json=BODY)) == (409, "promoter-profile-required")

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"title": ""}, "/title"),
            ({"title": "a\u0000b"}, "/title"),
            ({"title": "x" * 201}, "/title"),
            ({"starts_at": "2031-06-05T19:00:00"}, "/starts_at"),
            ({"starts_at": 5}, "/starts_at"),
            ({"ends_at": "2031-06-05T17:00:00Z"}, "/ends_at"),
            ({"timezone": "Mars/Phobos"}, "/timezone"),
            ({"capacity": 0}, "/capacity"),
            ({"capacity": 2**31}, "/capacity"),
            ({"capacity": "200"}, "/capacity"),
            ({"currency": "XTS"}, "/currency"),
            ({"currency": "dkk"}, "/currency"),
            ({"latitude": 90.5, "longitude": 0}, "/latitude"),
            ({"longitude": 12}, "/latitude"),
            ({"country": "Denmark"}, "/country"),
            ({"tags": ["ok", ""]}, "/tags/1"),
            ({"tags": ["x"] * 21}, "/tags"),
            ({"image_url": "javascript:alert(1)"}, "/image_url"),
            ({"tax_rate_bps": 10_001}, "/tax_rate_bps"),
            ({"offer_seconds": 59}, "/offer_seconds"),
            ({"status": "published"}, "/status"),
            ({"fee_rate_bps": 0}, "/fee_rate_bps"),
        ],
    )
    def test_what_is_wrong_is_pointed_at(self, seller, changes, pointer):
        answer = seller.post(EVENTS, json={**BODY, **changes})
        assert code_of(answer) == (422, "validation-failed")
        assert pointers(answer) == [pointer]

    def test_a_promoter_cannot_feature_an_event(self, seller):
        assert code_of(seller.post(EVENTS, json={**BODY, "is_featured": True})) == (403, "forbidden")


class TestAccess:
    """Each line is a request; each column says what becomes of it, on a draft and on a published event."""

    MATRIX = (
        # method, path, body,                      stranger, user, other promoter on a draft and on sale, owner, admin
        ("get", "", None, (404, 404, 404, 200, 200, 200)),
        ("put", "", BODY, (401, 404, 404, 403, 200, 200)),
        ("delete", "", None, (401, 404, 404, 403, 204, 204)),
        ("post", "/publish", None, (401, 404, 404, 403, 409, 409)),
        ("post", "/cancel", None, (401, 403, 404, 403, 409, 409)),
    )

    @pytest.fixture
    def people(self, rows, client, log_in, seller):
        other, user = PromoterFactory().user, UserFactory()
        admin = UserFactory(role=UserRole.ADMIN)
        rows.commit()
        return {
            "stranger": client,
            "user": log_in(user),
            "other": log_in(other),
            "owner": seller,
            "admin": log_in(admin),
        }

    @pytest.mark.parametrize(("method", "path", "body", "expected"), MATRIX)
    def test_who_may_do_what(self, rows, people, promoter, method, path, body, expected):
        draft = EventFactory(promoter=promoter, status=EventStatus.DRAFT, currency="DKK")
        on_sale = EventFactory(promoter=promoter, currency="DKK")
        rows.commit()

        def ask(who, event):
            return people[who].open(f"{EVENTS}/{event.id}{path}", method=method.upper(), json=body).status_code

        asked = [ask(who, draft) for who in ("stranger", "user", "other")]
        asked.append(ask("other", on_sale))
        asked.append(ask("owner", draft))
        if method == "delete":
            draft = make(rows, EventFactory, promoter=promoter, status=EventStatus.DRAFT)
        asked.append(ask("admin", draft))
        assert tuple(asked) == expected

    def test_a_private_event_is_invisible_to_others(self, rows, people, promoter):
        event = make(rows, EventFactory, promoter=promoter, is_private=True)
        found = {who: client.get(f"{EVENTS}/{event.id}").status_code for who, client in people.items()}
        assert found == {"stranger": 404, "user": 404, "other": 404, "owner": 200, "admin": 200}
        assert all(client.get(EVENTS).json["items"] == [] for client in people.values())

    def test_a_hidden_event_looks_like_no_event(self, rows, client, promoter):
        event = make(rows, EventFactory, promoter=promoter, status=EventStatus.DRAFT)
        hidden = client.get(f"{EVENTS}/{event.id}").json
        missing = client.get(f"{EVENTS}/{promoter.id}").json
        assert hidden.pop("instance") != missing.pop("instance")
        assert hidden == missing

    def test_a_malformed_id_is_no_event(self, client):
        assert code_of(client.get(f"{EVENTS}/1")) == (404, "not-found")

    def test_a_demoted_admin_cancels_nothing_with_an_old_token(self, rows, people, promoter):
        event = make(rows, EventFactory, promoter=promoter)
        rows.execute(User.__table__.update().where(User.role == UserRole.ADMIN).values(role=UserRole.USER))
        rows.commit()
        assert code_of(people["admin"].post(f"{EVENTS}/{event.id}/cancel")) == (403, "forbidden")


class TestList:
    @pytest.fixture
    def listed(self, rows, promoter):
        for day, (title, city) in enumerate(
            [("Jazz Night", "København"), ("Rock Day", "Aarhus"), ("Jazz Day", "Aarhus")]
        ):
            EventFactory(
                promoter=promoter, title=title, city=city, starts_at=STARTS + timedelta(days=day), is_featured=not day
            )
        EventFactory(promoter=promoter, title="Jazz Draft", status=EventStatus.DRAFT, starts_at=STARTS)
        rows.commit()

    @pytest.mark.parametrize(
        ("query", "titles"),
        [
            ({}, ["Jazz Night", "Rock Day", "Jazz Day"]),
            ({"q": "jaz"}, ["Jazz Night", "Jazz Day"]),
            ({"q": "jazz", "city": "aarhus"}, ["Jazz Day"]),
            ({"from": "2031-06-06T00:00:00Z"}, ["Rock Day", "Jazz Day"]),
            ({"from": "2031-06-06T00:00:00Z", "to": "2031-06-07T00:00:00Z"}, ["Rock Day"]),
            ({"featured": "true"}, ["Jazz Night"]),
            ({"category": "music", "tag": "LIVE"}, ["Jazz Night", "Rock Day", "Jazz Day"]),
        ],
    )
    def test_anybody_finds_what_is_on(self, client, listed, query, titles):
        assert [event["title"] for event in client.get(EVENTS, query_string=query).json["items"]] == titles

    def test_pages_follow_their_cursor(self, client, listed):
        first = client.get(EVENTS, query_string={"limit": 2}).json
        second = client.get(EVENTS, query_string={"limit": 2, "cursor": first["next_cursor"]}).json
        assert [event["title"] for event in first["items"] + second["items"]] == ["Jazz Night", "Rock Day", "Jazz Day"]
        assert second["next_cursor"] is None

    def test_a_promoter_sees_their_own_drafts(self, rows, seller, log_in, listed):
        assert "Jazz Draft" in [
            event["title"] for event in seller.get(EVENTS, query_string={"mine": "true"}).json["items"]
        ]
        other = log_in(make(rows, PromoterFactory).user)
        assert other.get(EVENTS, query_string={"mine": "true"}).json["items"] == []

    def test_a_stranger_has_no_own_events(self, client):
        assert code_of(client.get(EVENTS, query_string={"mine": "true"})) == (401, "unauthenticated")

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ({"cursor": "nonsense"}, "/cursor"),
            ({"limit": 0}, "/limit"),
            ({"limit": 101}, "/limit"),
            ({"from": "yesterday"}, "/from"),
            ({"q": ""}, "/q"),
            ({"q": "a\x00"}, "/q"),
            ({"colour": "red"}, "/colour"),
        ],
    )
    def test_what_is_wrong_is_pointed_at(self, client, query, pointer):
        answer = client.get(EVENTS, query_string=query)
        assert code_of(answer) == (422, "validation-failed")
        assert pointers(answer) == [pointer]


class TestEdit:
    def test_an_edit_replaces_the_whole(self, seller):
        made = seller.post(EVENTS, json={**BODY, "city": "Aarhus", "tags": ["jazz"]}).json
        edited = seller.put(made["links"]["self"], json={**BODY, "title": "Swing"}).json
        assert (edited["title"], edited["slug"], edited["city"], edited["tags"]) == ("Swing", made["slug"], None, [])
        assert edited["updated_at"] > made["updated_at"]

    def test_the_capacity_holds_the_tiers(self, rows, seller, promoter):
        event = make(rows, EventFactory, promoter=promoter, currency="DKK")
        make(rows, TicketTierFactory, event=event, quantity=201)
        answer = seller.put(f"{EVENTS}/{event.id}", json=BODY)
        assert code_of(answer) == (409, "capacity-below-tiers")
        assert pointers(answer) == ["/capacity"]

    def test_an_event_with_orders_is_not_deleted(self, rows, seller, promoter):
        event = make(rows, EventFactory, promoter=promoter)
        make(rows, OrderFactory, tier=TicketTierFactory(event=event))
        assert code_of(seller.delete(f"{EVENTS}/{event.id}")) == (409, "event-has-orders")

    def test_a_deleted_event_is_gone(self, seller):
        made = seller.post(EVENTS, json=BODY).json
        assert seller.delete(made["links"]["self"]).status_code == 204
        assert seller.get(made["links"]["self"]).status_code == 404


class TestPublish:
    def test_a_complete_event_goes_on_sale_and_is_found(self, rows, client, seller, promoter):
        event = make(rows, EventFactory, promoter=promoter, status=EventStatus.DRAFT)
        make(rows, TicketTierFactory, event=event)
        answer = seller.post(f"{EVENTS}/{event.id}/publish")
        assert (answer.status_code, answer.json["status"]) == (200, "published")
        assert [found["id"] for found in client.get(EVENTS).json["items"]] == [str(event.id)]
        assert seller.post(f"{EVENTS}/{event.id}/publish").json == answer.json

    def test_everything_that_is_missing_is_listed(self, rows, log_in):
        promoter = PromoterFactory(verification_status=VerificationStatus.UNVERIFIED)
        event = EventFactory(
            promoter=promoter, status=EventStatus.DRAFT, starts_at=datetime(2020, 1, 1, tzinfo=UTC), capacity=1
        )
        TicketTierFactory(event=event, price=49)
        rows.commit()
        answer = log_in(promoter.user).post(f"{EVENTS}/{event.id}/publish")
        assert code_of(answer) == (409, "event-not-publishable")
        assert pointers(answer) == ["/starts_at", "/capacity", "/tiers/0/price", "/promoter"]
        assert all(error["detail"].endswith(".") for error in answer.json["errors"])


class TestCancel:
    def test_it_is_called_off_once_and_rings_its_tiers(self, rows, seller, promoter, announced, sessions):
        event = make(rows, EventFactory, promoter=promoter)
        tier = make(rows, TicketTierFactory, event=event)
        answer = seller.post(f"{EVENTS}/{event.id}/cancel", headers={"X-Request-ID": "cancelling"})
        assert (answer.status_code, answer.json["status"]) == (200, "cancelled")
        assert seller.post(f"{EVENTS}/{event.id}/cancel").json["cancelled_at"] == answer.json["cancelled_at"]
        assert announced == [ServeTier(tier.id)]
        with sessions() as session:
            entry = session.scalars(select(AuditLog)).one()
            assert (entry.action, entry.actor_id, entry.request_id) == ("event.cancel", promoter.user_id, "cancelling")
            assert session.get_one(Event, event.id).is_cancelled

    def test_a_draft_is_not_cancelled(self, rows, seller, promoter):
        event = make(rows, EventFactory, promoter=promoter, status=EventStatus.DRAFT)
        assert code_of(seller.post(f"{EVENTS}/{event.id}/cancel")) == (409, "event-not-published")
