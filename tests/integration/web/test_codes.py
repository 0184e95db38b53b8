from datetime import timedelta

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from domain import allocation
from domain.messages import ServeTier
from domain.models import AuditLog, Code, Order, OrderItem, TicketTier
from domain.rules.codes import ALPHABET
from domain.rules.states import EventStatus, OrderStage, TeamRight, UserRole
from tests.factories import (
    CodeFactory,
    EventFactory,
    OrderFactory,
    PromoterFactory,
    TeamMemberFactory,
    TicketTierFactory,
    UserFactory,
)
from tests.integration.market import CLOCKS
from web.app import create_app
from web.services import Services

EVENTS, CODES, ORDERS, TIERS = "/api/v1/events", "/api/v1/codes", "/api/v1/orders", "/api/v1/tiers"
TEN = {"code": "harbour-10", "discount_bps": 1000}
VIP = {"price": 9000, "name": "Behind the stage", "is_hidden": True}


@pytest.fixture
def event(rows, promoter):
    return make(rows, EventFactory, promoter=promoter, capacity=1000)


@pytest.fixture
def tier(rows, event):
    return make(rows, TicketTierFactory, event=event, price=1999)


@pytest.fixture
def hidden(rows, event):
    return make(rows, TicketTierFactory, event=event, **VIP)


@pytest.fixture
def buyer(rows, log_in):
    return log_in(make(rows, UserFactory))


def make(rows, factory, **values):
    row = factory(**values)
    rows.commit()
    return row


def code_of(answer):
    return answer.status_code, answer.json["code"]


def pointers(answer):
    return [error["pointer"] for error in answer.json["errors"]]


def submit(client, tier, code, quantity=1, key=None):
    body = {"event_id": str(tier.event_id), "items": [{"tier_id": str(tier.id), "quantity": quantity}], "code": code}
    return client.post(ORDERS, json=body, headers={"Idempotency-Key": key or str(uuid7())})


def audited(rows, entity_id):
    rows.rollback()
    query = select(AuditLog).where(AuditLog.entity_id == entity_id).order_by(AuditLog.id)
    return [(entry.action, entry.new_data) for entry in rows.scalars(query)]


class TestMaking:
    def test_a_promoter_makes_a_code_and_finds_it(self, seller, event, rows):
        answer = seller.post(f"{EVENTS}/{event.id}/codes", json={**TEN, "max_uses": 5})
        assert answer.status_code == 201
        made = answer.json
        assert (made["code"], made["discount_bps"], made["uses"], made["is_active"]) == ("HARBOUR-10", 1000, 0, True)
        assert seller.get(answer.headers["Location"]).json == made
        [(action, new)] = audited(rows, made["id"])
        assert (action, new["code"], new["max_uses"]) == ("code.create", "HARBOUR-10", 5)

    def test_an_event_has_a_code_once_however_it_is_spelled(self, seller, event, rows, promoter):
        CodeFactory(event_id=event.id, code="HARBOUR-10")
        elsewhere = make(rows, EventFactory, promoter=promoter)
        assert code_of(seller.post(f"{EVENTS}/{event.id}/codes", json=TEN)) == (409, "code-taken")
        assert seller.post(f"{EVENTS}/{elsewhere.id}/codes", json=TEN).status_code == 201

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"code": "a b c"}, "/code"),
            ({"discount_bps": 10_001}, "/discount_bps"),
            ({"discount_bps": None}, "/discount_bps"),
            ({"discount_amount": 5}, "/discount_amount"),
            ({"opens_hidden": True}, "/tier_ids"),
            ({"tier_ids": [str(uuid7())]}, "/tier_ids"),
            ({"max_uses": 0}, "/max_uses"),
            ({"uses": 3}, "/uses"),
            ({"valid_from": "2031-01-02T00:00:00Z", "valid_until": "2031-01-02T00:00:00Z"}, "/valid_until"),
        ],
    )
    def test_what_is_wrong_is_pointed_at(self, seller, event, changes, pointer):
        answer = seller.post(f"{EVENTS}/{event.id}/codes", json={**TEN, **changes})
        assert code_of(answer) == (422, "validation-failed")
        assert pointers(answer) == [pointer]

    def test_an_amount_can_be_charged(self, seller, rows, promoter):
        dinars = make(rows, EventFactory, promoter=promoter, currency="KWD")
        body = {"code": "five", "discount_amount": 5}
        assert pointers(seller.post(f"{EVENTS}/{dinars.id}/codes", json=body)) == ["/discount_amount"]

    def test_many_at_once_are_different_and_easy_to_read(self, seller, event, rows):
        answer = seller.post(
            f"{EVENTS}/{event.id}/codes/batch", json={"discount_bps": 10_000, "count": 40, "prefix": "press"}
        )
        assert answer.status_code == 201
        made = [code["code"] for code in answer.json["items"]]
        assert len(set(made)) == 40
        assert all(code.startswith("PRESS-") and set(code[6:]) <= set(ALPHABET) for code in made)
        assert [(action, new["count"]) for action, new in audited(rows, event.id)] == [("code.generate", 40)]
        listed, url = [], f"{EVENTS}/{event.id}/codes?limit=30"
        while url:
            page = seller.get(url).json
            listed += [code["code"] for code in page["items"]]
            url = page["next_cursor"] and f"{EVENTS}/{event.id}/codes?limit=30&cursor={page['next_cursor']}"
        assert sorted(listed) == sorted(made)


class TestChanging:
    @pytest.fixture
    def code(self, rows, event):
        return make(rows, CodeFactory, event_id=event.id, max_uses=5)

    def test_what_is_left_out_stays(self, seller, code, rows):
        answer = seller.patch(f"{CODES}/{code.id}", json={"max_uses": 9, "discount_bps": None, "discount_amount": 200})
        assert answer.status_code == 200
        assert (answer.json["max_uses"], answer.json["discount_bps"], answer.json["discount_amount"]) == (9, None, 200)
        assert (answer.json["code"], answer.json["is_active"]) == (code.code, True)
        assert seller.patch(f"{CODES}/{code.id}", json={}).json == answer.json
        assert audited(rows, code.id) == [
            ("code.update", {"max_uses": 9, "discount_bps": None, "discount_amount": 200})
        ]
        assert pointers(seller.patch(f"{CODES}/{code.id}", json={"discount_amount": None})) == ["/discount_bps"]

    def test_no_limit_is_below_what_was_taken(self, seller, code, rows, tier):
        OrderFactory(tier=tier, code=code, quantity=3, stage=OrderStage.HELD)
        rows.commit()
        for changes in ({"max_tickets": 2}, {"max_uses": 1, "max_tickets": 1}):
            assert code_of(seller.patch(f"{CODES}/{code.id}", json=changes)) == (409, "code-limit-below-taken")
        assert seller.patch(f"{CODES}/{code.id}", json={"max_uses": 1, "max_tickets": 3}).status_code == 200

    def test_a_code_that_nobody_used_goes_and_a_used_one_stops(self, seller, code, rows, tier, event):
        used = CodeFactory(event_id=event.id)
        OrderFactory(tier=tier, code=used)
        rows.commit()
        for each in (code, used, used):
            assert seller.delete(f"{CODES}/{each.id}").status_code == 204
        assert code_of(seller.get(f"{CODES}/{code.id}")) == (404, "not-found")
        assert seller.get(f"{CODES}/{used.id}").json["is_active"] is False
        assert [action for action, _ in audited(rows, used.id)] == ["code.update"]
        assert [action for action, _ in audited(rows, code.id)] == ["code.delete"]

    def test_nobody_else_learns_that_there_is_one(self, rows, code, log_in):
        other = PromoterFactory().user
        rows.commit()
        assert log_in(other).get(f"{CODES}/{code.id}").status_code == 404

    @pytest.mark.parametrize(
        ("who", "status"),
        [
            ("stranger", 401),
            ("seller of the team", 403),
            ("manager of the team", 200),
            ("admin", 200),
        ],
    )
    def test_who_may(self, rows, event, code, client, log_in, who, status):
        def member(right):
            return TeamMemberFactory(promoter_id=event.promoter_id, rights=[right]).user

        people = {
            "seller of the team": lambda: member(TeamRight.SELL),
            "manager of the team": lambda: member(TeamRight.MANAGE),
            "admin": lambda: UserFactory(role=UserRole.ADMIN),
        }
        caller = client
        if who in people:
            person = people[who]()
            rows.commit()
            caller = log_in(person)
        answers = [
            caller.get(f"{EVENTS}/{event.id}/codes"),
            caller.get(f"{CODES}/{code.id}"),
            caller.patch(f"{CODES}/{code.id}", json={"max_uses": 7}),
            caller.post(f"{EVENTS}/{event.id}/codes", json=TEN),
            caller.post(f"{EVENTS}/{event.id}/codes/batch", json={"discount_bps": 1, "count": 1}),
            caller.delete(f"{CODES}/{code.id}"),
        ]
        good = [200, 200, 200, 201, 201, 204]
        assert [answer.status_code for answer in answers] == (good if status == 200 else [status] * 6)

    def test_a_code_of_a_draft_looks_to_others_like_none(self, rows, log_in):
        draft = EventFactory(status=EventStatus.DRAFT)
        code, other = CodeFactory(event_id=draft.id), PromoterFactory().user
        rows.commit()
        answers = [log_in(other).get(f"{CODES}/{code_id}").json for code_id in (code.id, uuid7())]
        assert answers[0]["detail"] == answers[1]["detail"] == "There is no such code."


class TestOrdering:
    def test_the_discount_is_in_the_price_for_good(self, buyer, seller, rows, event, tier):
        code = make(rows, CodeFactory, event_id=event.id, code="HARBOUR-10", discount_bps=1500)
        answer = submit(buyer, tier, " harbour-10 ", 3)
        assert answer.status_code == 202
        order, [item] = answer.json, answer.json["items"]
        # 15 % of 59.97 is 8.9955.
        assert (order["code"], item["unit_price"], item["discount"], item["subtotal"]) == (
            "HARBOUR-10",
            1999,
            900,
            5097,
        )
        assert (order["amounts"]["discount"], order["amounts"]["subtotal"]) == (900, 5097)
        assert seller.patch(f"{CODES}/{code.id}", json={"discount_bps": 1, "is_active": False}).status_code == 200
        polled = buyer.get(answer.headers["Location"]).json
        assert (polled["amounts"], polled["code"], polled["items"]) == (order["amounts"], "HARBOUR-10", order["items"])

    @pytest.mark.parametrize(
        ("values", "refusal"),
        [
            ({"code": "ANOTHER"}, (422, "code-invalid")),
            ({"is_active": False}, (422, "code-invalid")),
            ({"valid_from": timedelta(hours=1)}, (409, "code-not-valid-yet")),
            ({"valid_until": timedelta(0)}, (409, "code-expired")),
            ({"tier_ids": [uuid7()]}, (409, "code-not-applicable")),
            ({"max_uses": 1, "uses": 1, "tickets": 1}, (409, "code-exhausted")),
            ({"max_tickets": 4, "uses": 1, "tickets": 3}, (409, "code-exhausted")),
            ({"max_per_person": 1}, (409, "limit-exceeded")),
        ],
    )
    def test_what_cannot_be_used_is_refused_and_nothing_stored(self, buyer, rows, event, tier, clock, values, refusal):
        moments = {name: clock.now() + value for name, value in values.items() if name.startswith("valid")}
        make(rows, CodeFactory, **{"event_id": event.id, "code": "HARBOUR", **values, **moments})
        answer = submit(buyer, tier, "HARBOUR", 2)
        assert code_of(answer) == refusal
        assert pointers(answer) == ["/code"]
        assert rows.scalar(select(func.count()).select_from(Order)) == 0

    def test_another_events_code_is_none(self, buyer, rows, tier):
        make(rows, CodeFactory, code="ELSEWHERE")
        assert code_of(submit(buyer, tier, "elsewhere")) == (422, "code-invalid")

    def test_an_order_that_was_accepted_is_answered_again_after_its_code_has_gone(
        self, buyer, rows, event, tier, clock
    ):
        make(rows, CodeFactory, event_id=event.id, code="SHORT", valid_until=clock.now() + timedelta(minutes=1))
        first = submit(buyer, tier, "short", key="once")
        clock.advance(minutes=5)
        again = submit(buyer, tier, "short", key="once")
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
        assert again.json["id"] == first.json["id"]
        assert code_of(submit(buyer, tier, "other", key="once")) == (422, "idempotency-key-reused")

    def test_only_the_tiers_that_it_is_for_are_cheaper_and_counted(self, buyer, rows, event, tier):
        other = TicketTierFactory(event=event, price=1000)
        code = make(rows, CodeFactory, event_id=event.id, code="ONE", tier_ids=[other.id], discount_bps=10_000)
        body = {"event_id": str(event.id), "code": "one"}
        body["items"] = [{"tier_id": str(each.id), "quantity": 1} for each in (tier, other)]
        answer = buyer.post(ORDERS, json=body, headers={"Idempotency-Key": "two-tiers"})
        assert [item["subtotal"] for item in answer.json["items"]] == [1999, 0]
        kept = dict(rows.execute(select(OrderItem.tier_id, OrderItem.code_id)).all())
        assert kept == {tier.id: None, other.id: code.id}

    def test_a_code_that_is_deleted_meanwhile_is_none(self, buyer, seller, rows, event, tier):
        code = make(rows, CodeFactory, event_id=event.id, code="GOING")
        assert buyer.get(f"{TIERS}/{tier.id}/availability?code=going").status_code == 200
        assert seller.delete(f"{CODES}/{code.id}").status_code == 204
        # By the picture that is kept for a moment it is still there; by its row it is not.
        assert code_of(submit(buyer, tier, "going")) == (422, "code-invalid")

    def test_from_the_submit_to_the_counters(self, buyer, rows, event, tier, announced, sessions, clock):
        make(rows, CodeFactory, event_id=event.id, code="HARBOUR", max_uses=1)
        accepted = [submit(buyer, tier, "harbour", 2).headers["Location"] for _ in range(2)]
        assert ServeTier(tier.id) in announced
        with sessions.begin() as session:
            allocation.serve(session, tier.id, clock.now(), CLOCKS, batch=10)
        stages = [buyer.get(location).json for location in accepted]
        assert [(order["stage"], order["reason"]) for order in stages] == [
            ("held", None),
            ("closed", "limit_exceeded"),
        ]
        assert stages[1]["timeline"][-1]["data"] == {"reason": "limit_exceeded", "limit": "code"}
        assert rows.execute(select(Code.uses, Code.tickets)).one() == (1, 2)


class TestHiddenTiers:
    @pytest.fixture
    def key(self, rows, event, hidden):
        return make(
            rows,
            CodeFactory,
            event_id=event.id,
            code="FRIENDS",
            opens_hidden=True,
            tier_ids=[hidden.id],
            discount_bps=5000,
        )

    def listed(self, client, event, query=""):
        return [tier["id"] for tier in client.get(f"{EVENTS}/{event.id}/tiers{query}").json["items"]]

    def test_only_who_has_the_code_sees_them(self, client, seller, event, tier, hidden, key, rows):
        CodeFactory(event_id=event.id, code="TEN")
        rows.commit()
        both = {str(tier.id), str(hidden.id)}
        assert self.listed(client, event) == self.listed(client, event, "?code=ten") == [str(tier.id)]
        assert set(self.listed(client, event, "?code=friends")) == set(self.listed(seller, event)) == both
        assert code_of(client.get(f"{EVENTS}/{event.id}/tiers?code=nothing")) == (422, "code-invalid")

    def test_nor_what_is_left_of_them(self, client, hidden, key, buyer):
        assert code_of(client.get(f"{TIERS}/{hidden.id}/availability")) == (404, "not-found")
        answer = client.get(f"{TIERS}/{hidden.id}/availability?code=friends")
        assert (answer.json["price"], answer.json["price_with_code"]) == (9000, 4500)
        waiting = buyer.post(f"{EVENTS}/{hidden.event_id}/waitlist", json={"tier_id": str(hidden.id), "quantity": 1})
        assert pointers(waiting) == ["/tier_id"]

    def test_nor_buys_them(self, buyer, hidden, key, rows):
        make(rows, CodeFactory, event_id=hidden.event_id, code="ALL")
        make(rows, CodeFactory, event_id=hidden.event_id, code="NAMED", tier_ids=[hidden.id])
        for code in (None, "all", "named"):
            answer = submit(buyer, hidden, code)
            assert (answer.status_code, pointers(answer)) == (422, ["/items/0/tier_id"])
        assert submit(buyer, hidden, "friends").json["amounts"]["subtotal"] == 4500

    def test_a_promoter_hides_a_tier(self, seller, tier, client):
        body = {"name": tier.name, "price": tier.price, "quantity": tier.quantity, "is_hidden": True}
        assert seller.put(f"{TIERS}/{tier.id}", json=body).json["is_hidden"] is True
        assert client.get(f"{EVENTS}/{tier.event_id}/tiers").json == {"items": []}


class TestGuessing:
    @pytest.fixture
    def limited(self, settings, sessions, hasher, clock, redis, redis_url):
        values = {"rate_limits": "on", "redis_url": redis_url}
        return create_app(services=Services(settings.model_copy(update=values), sessions, hasher, clock)).test_client()

    def test_wrong_codes_are_counted_and_right_ones_are_not(self, limited, rows, event, tier, log_in):
        make(rows, CodeFactory, event_id=event.id, code="HARBOUR")
        buyer = log_in(make(rows, UserFactory))
        limited.environ_base.update(buyer.environ_base)
        look = f"{EVENTS}/{event.id}/tiers?code="
        for _ in range(11):
            assert limited.get(f"{look}harbour").status_code == 200
        for number in range(9):
            assert code_of(limited.get(f"{look}guess-{number}")) == (422, "code-invalid")
        assert code_of(submit(limited, tier, "guess")) == (422, "code-invalid")
        refused = submit(limited, tier, "harbour")
        assert code_of(refused) == (429, "rate-limited")
        assert refused.json["violated-policies"] == ["codes"]
        assert int(refused.headers["Retry-After"]) >= 1
        assert submit(limited, tier, None).status_code == 202, "without a code one may still buy"
        assert rows.scalar(select(TicketTier.reserved)) == 0
