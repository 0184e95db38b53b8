import pytest
from sqlalchemy import func, select, update
from uuid_utils.compat import uuid7

from domain.messages import ServeTier
from domain.models import Order, OrderItem, TicketTier
from tests.factories import EventFactory, TicketTierFactory, UserFactory, bound_to

ORDERS = "/api/v1/orders"
KEY = "Idempotency-Key"
NAMED = {"tier_id": str(uuid7()), "quantity": 1}


@pytest.fixture
def buyer(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


@pytest.fixture
def mine(log_in, buyer):
    return log_in(buyer)


@pytest.fixture
def make_tier(sessions):
    def make_tier(**values):
        with sessions.begin() as session:
            return TicketTierFactory(session=session, **values)

    return make_tier


@pytest.fixture
def tier(make_tier):
    return make_tier(price=4500)


def body_of(tier, quantity=1, **more):
    return {"event_id": str(tier.event_id), "items": [{"tier_id": str(tier.id), "quantity": quantity}], **more}


def submit(client, body, key=None, **options):
    return client.post(ORDERS, json=body, headers={KEY: key or str(uuid7())}, **options)


def count(sessions):
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Order))


def told(answer):
    """Return what a refusal says to programs: status, code and where."""
    assert answer.mimetype == "application/problem+json"
    assert set(answer.json) >= {"type", "title", "status", "detail", "instance", "code"}
    assert answer.json["status"] == answer.status_code
    pointers = [error["pointer"] for error in answer.json.get("errors", [])]
    return answer.status_code, answer.json["code"], pointers


class TestSubmit:
    def test_is_accepted_at_once_and_says_where_and_when_to_look(self, mine, tier, announced):
        answer = submit(mine, body_of(tier, 2))
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"{ORDERS}/{answer.json['id']}"
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["ETag"].startswith('W/"')
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert "Idempotent-Replayed" not in answer.headers
        assert announced == [ServeTier(tier.id)]
        assert mine.get(answer.headers["Location"]).json["id"] == answer.json["id"]

    def test_answers_what_a_poll_shows(self, mine, tier, make_tier):
        other = make_tier(event=tier.event, price=0)
        items = [{"tier_id": str(named.id), "quantity": 2} for named in (tier, other)]
        billing = {"name": "Ada Lovelace", "city": "London"}
        answer = submit(mine, {"event_id": str(tier.event_id), "items": items, "billing": billing})
        polled = mine.get(answer.headers["Location"])
        assert polled.headers["ETag"] == answer.headers["ETag"]
        assert polled.json | {"server_time": None} == answer.json | {"server_time": None}

    def test_answers_the_order(self, mine, tier, clock, sessions):
        body = submit(mine, body_of(tier, 2)).json
        assert set(body) >= {
            *("id", "number", "status", "stage", "reason", "payment_status", "sequence", "queue", "hold", "payment"),
            *("amounts", "items", "tickets", "timeline", "server_time", "links"),
        }
        assert (body["status"], body["stage"], body["payment_status"]) == ("pending", "queued", "pending")
        assert (body["reason"], body["hold"], body["payment"], body["tickets"]) == (None, None, None, [])
        assert body["queue"] == {
            "position": 1,
            "ahead": 0,
            "eta_seconds": None,
            "outlook": "covered",
            "paused": False,
        }
        assert body["amounts"] == {
            "currency": "EUR",
            "discount": 0,
            "subtotal": 9000,
            "fees": 325,
            "tax": 1772,
            "total": 11097,
            "refunded": 0,
        }
        (item,) = body["items"]
        assert (item["tier_id"], item["tier_name"], item["quantity"]) == (str(tier.id), tier.name, 2)
        assert [entry["kind"] for entry in body["timeline"]] == ["accepted"]
        assert body["links"]["self"] == f"{ORDERS}/{body['id']}"
        assert body["links"]["cancel"] == f"{ORDERS}/{body['id']}/cancel"
        assert body["links"]["confirm"] is None
        assert body["server_time"].endswith("Z")
        with sessions() as session:
            order = session.get_one(Order, body["id"])
        assert (body["number"], body["sequence"]) == (order.number, order.sequence)

    def test_keeps_attendees_billing_and_the_request_id(self, mine, tier, sessions):
        body = body_of(tier, 2, billing={"name": "Ada Ltd", "city": "Århus", "country": "DK"})
        body["items"][0]["attendees"] = [{"name": " Ada "}, {"name": "Bo", "email": "bo@example.com"}]
        answer = mine.post(ORDERS, json=body, headers={KEY: "k", "X-Request-ID": "r-42"})
        assert answer.status_code == 202
        with sessions() as session:
            order = session.get_one(Order, answer.json["id"])
            attendees = session.scalar(select(OrderItem.attendees).where(OrderItem.order_id == order.id))
        assert attendees == [{"name": "Ada"}, {"name": "Bo", "email": "bo@example.com"}]
        assert (order.billing_name, order.billing_address) == ("Ada Ltd", {"city": "Århus", "country": "DK"})
        assert order.request_id == answer.headers["X-Request-ID"] == "r-42"

    def test_is_for_people_who_are_logged_in(self, client, tier, sessions):
        assert told(submit(client, body_of(tier)))[:2] == (401, "unauthenticated")
        assert count(sessions) == 0


class TestIdempotencyKey:
    def test_is_required(self, mine, tier, sessions):
        assert told(mine.post(ORDERS, json=body_of(tier))) == (400, "idempotency-key-missing", [])
        assert count(sessions) == 0

    @pytest.mark.parametrize("key", ["", " ", '""', "a b", '"a b"', "x" * 256, f'"{"x" * 256}"', "schlüssel"])
    def test_malformed_ones_are_refused(self, mine, tier, key):
        answer = mine.post(ORDERS, json=body_of(tier), headers={KEY: key.encode("latin-1").decode("latin-1")})
        assert told(answer) == (400, "idempotency-key-malformed", [])

    @pytest.mark.parametrize("key", ["x" * 255, f'"{"x" * 255}"', "a-b_c:1", "'", '"'])
    def test_all_others_are_taken(self, mine, tier, key):
        assert submit(mine, body_of(tier), key).status_code == 202

    def test_the_same_purchase_is_answered_the_same_order(self, mine, tier, sessions, announced):
        first = submit(mine, body_of(tier), "k-1")
        announced.clear()
        second = submit(mine, body_of(tier), '"k-1"')
        assert (second.status_code, second.json["id"]) == (202, first.json["id"])
        assert second.headers["Location"] == first.headers["Location"]
        assert second.headers["Idempotent-Replayed"] == "true"
        assert (count(sessions), announced) == (1, [])

    def test_the_order_of_fields_does_not_matter(self, mine, tier):
        body = body_of(tier)
        submit(mine, body, "k-1")
        turned = dict(reversed(body.items()))
        assert submit(mine, turned, "k-1").headers["Idempotent-Replayed"] == "true"

    def test_another_payload_is_refused(self, mine, tier, sessions):
        submit(mine, body_of(tier), "k-1")
        assert told(submit(mine, body_of(tier, 2), "k-1")) == (422, "idempotency-key-reused", [])
        assert count(sessions) == 1

    def test_keys_belong_to_their_user(self, mine, log_in, tier, sessions):
        first = submit(mine, body_of(tier), "k-1")
        with sessions.begin() as session:
            other = log_in(UserFactory(session=session))
        second = submit(other, body_of(tier), "k-1")
        assert second.json["id"] != first.json["id"]
        assert "Idempotent-Replayed" not in second.headers

    def test_a_replay_shows_the_order_as_it_is_now_even_when_nothing_is_left(self, mine, tier, sessions, services):
        first = submit(mine, body_of(tier), "k-1")
        with sessions.begin() as session:
            session.execute(update(TicketTier).where(TicketTier.id == tier.id).values(quantity=0))
        services.storefront._kept.clear()
        assert told(submit(mine, body_of(tier), "k-2"))[1] == "sold-out"
        again = submit(mine, body_of(tier), "k-1")
        assert (again.status_code, again.json["id"]) == (202, first.json["id"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "quantity", "expected"),
        [
            ({"quantity": 1}, 2, (409, "sold-out", ["/items/0/quantity"])),
            ({"max_per_order": 1}, 2, (409, "limit-exceeded", ["/items/0/quantity"])),
            ({"is_active": False}, 1, (409, "sale-closed", ["/items/0"])),
        ],
    )
    def test_the_business_says_no(self, mine, make_tier, sessions, values, quantity, expected):
        assert told(submit(mine, body_of(make_tier(**values), quantity))) == expected
        assert count(sessions) == 0

    def test_sold_out_links_to_the_waitlist(self, mine, make_tier):
        tier = make_tier(quantity=0)
        answer = submit(mine, body_of(tier))
        assert answer.json["links"] == {"waitlist": f"/api/v1/events/{tier.event_id}/waitlist"}

    def test_tiers_that_one_may_not_know_of_do_not_exist(self, mine, sessions, tier):
        with sessions.begin() as session, bound_to(session):
            private = TicketTierFactory(event=EventFactory(is_private=True))
        unknown = body_of(tier)
        unknown["items"][0]["tier_id"] = str(uuid7())
        refusals = [submit(mine, body) for body in (body_of(private), unknown)]
        assert [told(answer) for answer in refusals] == [(422, "validation-failed", ["/items/0/tier_id"])] * 2
        assert refusals[0].json["detail"] == refusals[1].json["detail"]

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"coupon": "X"}, "/coupon"),
            ({"event_id": "x"}, "/event_id"),
            ({"event_id": None}, "/event_id"),
            ({"items": []}, "/items"),
            ({"items": None}, "/items"),
            ({"billing": {"country": "Denmark"}}, "/billing/country"),
            ({"billing": {"name": "a\u0000b"}}, "/billing/name"),
            ({"items": [{"tier_id": "x", "quantity": 1}]}, "/items/0/tier_id"),
            ({"items": [{"tier_id": str(uuid7()), "quantity": 0}]}, "/items/0/quantity"),
            ({"items": [{"tier_id": str(uuid7()), "quantity": -1}]}, "/items/0/quantity"),
            ({"items": [{"tier_id": str(uuid7()), "quantity": 2**31}]}, "/items/0/quantity"),
            ({"items": [{"tier_id": str(uuid7()), "quantity": 1.5}]}, "/items/0/quantity"),
            ({"items": [{"tier_id": str(uuid7()), "quantity": "1"}]}, "/items/0/quantity"),
            ({"items": [NAMED | {"price": 1}]}, "/items/0/price"),
            (
                {"items": [{"tier_id": str(uuid7()), "quantity": 1, "attendees": [{"name": ""}]}]},
                "/items/0/attendees/0/name",
            ),
            ({"items": [{"tier_id": str(uuid7()), "quantity": 1, "attendees": [{"name": "A"}] * 2}]}, "/items/0"),
        ],
    )
    def test_what_is_wrong_is_pointed_at(self, mine, tier, sessions, change, pointer):
        status, code, pointers = told(submit(mine, {**body_of(tier), **change}))
        assert (status, code) == (422, "validation-failed")
        assert pointer in pointers
        assert count(sessions) == 0

    def test_the_same_tier_twice_is_one_wish_written_badly(self, mine, tier):
        body = body_of(tier)
        body["items"] *= 2
        assert told(submit(mine, body))[:2] == (422, "validation-failed")

    @pytest.mark.parametrize(
        ("data", "media_type", "expected"),
        [
            (b'{"event_id":', "application/json", (400, "malformed-json")),
            (b"", "application/json", (400, "malformed-json")),
            (b"[]", "application/json", (422, "validation-failed")),
            (b"event_id=1", "application/x-www-form-urlencoded", (415, "unsupported-media-type")),
            (b'{"a":"' + b"x" * 70_000 + b'"}', "application/json", (413, "body-too-large")),
        ],
    )
    def test_bodies_that_are_none(self, mine, data, media_type, expected, sessions):
        answer = mine.post(ORDERS, data=data, content_type=media_type, headers={KEY: "k"})
        assert told(answer)[:2] == expected
        assert count(sessions) == 0

    def test_other_methods(self, mine):
        assert told(mine.delete(ORDERS))[:2] == (405, "method-not-allowed")
