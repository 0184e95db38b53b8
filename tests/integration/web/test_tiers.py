from datetime import timedelta

import pytest

from domain.messages import ServeTier
from domain.models import TicketTier
from domain.rules.states import EventStatus, UserRole
from tests.factories import (
    EventFactory,
    PromoterFactory,
    TicketTierFactory,
    UserFactory,
    WaitlistFactory,
)

EVENTS, TIERS = "/api/v1/events", "/api/v1/tiers"
BODY = {"name": "Standing", "price": 4500, "quantity": 100}
OWN = ("quantity", "desired_quantity", "quantity_refusal", "sold", "reserved", "percent_sold")


@pytest.fixture
def event(rows, promoter):
    return make(rows, EventFactory, promoter=promoter, capacity=150)


@pytest.fixture
def draft(rows, promoter):
    return make(rows, EventFactory, promoter=promoter, status=EventStatus.DRAFT, capacity=150)


def make(rows, factory, **values):
    row = factory(**values)
    rows.commit()
    return row


def code_of(answer):
    return answer.status_code, answer.json["code"]


def pointers(answer):
    return [error["pointer"] for error in answer.json["errors"]]


class TestCreate:
    def test_a_promoter_adds_a_tier(self, seller, draft):
        answer = seller.post(f"{EVENTS}/{draft.id}/tiers", json=BODY)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{EVENTS}/{draft.id}/tiers"
        assert seller.get(answer.headers["Location"]).json == {"items": [answer.json]}
        assert (answer.json["price"], answer.json["currency"], answer.json["quantity"]) == (4500, "EUR", 100)
        assert (answer.json["sold"], answer.json["reserved"], answer.json["max_per_order"]) == (0, 0, 10)

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"name": "x" * 101}, "/name"),
            ({"price": -1}, "/price"),
            ({"price": 49}, "/price"),
            ({"price": 45.0}, "/price"),
            ({"price": 100_000_000}, "/price"),
            ({"quantity": -1}, "/quantity"),
            ({"quantity": True}, "/quantity"),
            ({"min_per_order": 0}, "/min_per_order"),
            ({"max_per_order": 101}, "/max_per_order"),
            ({"min_per_order": 5, "max_per_order": 4}, "/max_per_order"),
            ({"sale_starts_at": "2031-01-02T00:00:00Z", "sale_ends_at": "2031-01-01T00:00:00Z"}, "/sale_ends_at"),
            ({"sold": 5}, "/sold"),
        ],
    )
    def test_what_is_wrong_is_pointed_at(self, seller, draft, changes, pointer):
        answer = seller.post(f"{EVENTS}/{draft.id}/tiers", json={**BODY, **changes})
        assert code_of(answer) == (422, "validation-failed")
        assert pointers(answer) == [pointer]

    def test_the_tiers_fit_the_event(self, seller, draft):
        answer = seller.post(f"{EVENTS}/{draft.id}/tiers", json={**BODY, "quantity": 151})
        assert code_of(answer) == (409, "capacity-exceeded")
        assert pointers(answer) == ["/quantity"]


class TestAccess:
    MATRIX = (
        # method, path, body,                stranger, user, other promoter on a draft and on sale, owner, admin
        ("get", "/events/{event}/tiers", None, (404, 404, 404, 200, 200, 200)),
        ("post", "/events/{event}/tiers", {**BODY, "quantity": 1}, (401, 404, 404, 403, 201, 201)),
        ("put", "/tiers/{tier}", {**BODY, "quantity": 60}, (401, 404, 404, 403, 200, 200)),
        ("post", "/tiers/{tier}/pause", None, (401, 404, 404, 403, 200, 200)),
        ("post", "/tiers/{tier}/drain", None, (401, 404, 404, 403, 200, 200)),
        ("post", "/tiers/{tier}/resume", None, (401, 404, 404, 403, 200, 200)),
        ("get", "/tiers/{tier}/availability", None, (404, 404, 404, 200, 200, 200)),
        ("delete", "/tiers/{tier}", None, (401, 404, 404, 403, 204, 204)),
    )

    @pytest.mark.parametrize(("method", "path", "body", "expected"), MATRIX)
    def test_who_may_do_what(self, rows, client, log_in, seller, draft, event, method, path, body, expected):
        hidden, spare, shown = (TicketTierFactory(event=whose, quantity=50) for whose in (draft, draft, event))
        user, other, admin = UserFactory(), PromoterFactory().user, UserFactory(role=UserRole.ADMIN)
        rows.commit()
        asked = [(client, hidden), (log_in(user), hidden), (log_in(other), hidden)]
        asked += [(log_in(other), shown), (seller, hidden), (log_in(admin), spare)]
        statuses = [
            who.open(
                f"/api/v1{path.format(event=tier.event_id, tier=tier.id)}", method=method.upper(), json=body
            ).status_code
            for who, tier in asked
        ]
        assert tuple(statuses) == expected

    def test_only_the_promoter_is_told_what_was_sold(self, rows, client, seller, event):
        make(rows, TicketTierFactory, event=event, quantity=10, sold=4)
        path = f"{EVENTS}/{event.id}/tiers"
        [own], [public] = seller.get(path).json["items"], client.get(path).json["items"]
        assert (own["quantity"], own["sold"], own["percent_sold"]) == (10, 4, 40.0)
        assert [public[name] for name in OWN] == [None] * len(OWN)
        assert public["availability"]["available"] == 6

    def test_an_inactive_tier_is_listed_for_its_promoter_only(self, rows, client, seller, event):
        make(rows, TicketTierFactory, event=event, is_active=False)
        path = f"{EVENTS}/{event.id}/tiers"
        assert (len(seller.get(path).json["items"]), len(client.get(path).json["items"])) == (1, 0)


class TestEdit:
    def test_a_quantity_on_sale_is_asked_for(self, rows, seller, event, announced):
        tier = make(rows, TicketTierFactory, event=event, quantity=50)
        body = seller.put(f"{TIERS}/{tier.id}", json=BODY).json
        assert (body["quantity"], body["desired_quantity"]) == (50, 100)
        assert announced == [ServeTier(tier.id)]

    def test_a_quantity_of_a_draft_changes_at_once(self, rows, seller, draft, announced):
        tier = make(rows, TicketTierFactory, event=draft, quantity=50)
        body = seller.put(f"{TIERS}/{tier.id}", json=BODY).json
        assert (body["quantity"], body["desired_quantity"], announced) == (100, None, [])

    def test_what_is_taken_stays_taken(self, rows, seller, event):
        tier = make(rows, TicketTierFactory, event=event, quantity=150, sold=100, reserved=1)
        answer = seller.put(f"{TIERS}/{tier.id}", json=BODY)
        assert code_of(answer) == (409, "quantity-below-sold")
        assert pointers(answer) == ["/quantity"]

    def test_a_tier_that_was_on_sale_is_not_deleted(self, rows, seller, event, sessions):
        tier = make(rows, TicketTierFactory, event=event)
        assert code_of(seller.delete(f"{TIERS}/{tier.id}")) == (409, "event-published")
        with sessions() as session:
            assert session.get(TicketTier, tier.id) is not None


class TestPause:
    def test_pausing_and_resuming_show_in_the_tier(self, rows, seller, event, announced):
        tier = make(rows, TicketTierFactory, event=event)
        paused = seller.post(f"{TIERS}/{tier.id}/pause").json
        assert (paused["availability"]["paused"], paused["availability"]["on_sale"], announced) == (True, True, [])
        resumed = seller.post(f"{TIERS}/{tier.id}/resume").json
        assert (resumed["availability"]["paused"], announced) == (False, [ServeTier(tier.id)])

    def test_it_can_be_drained_and_resumed(self, rows, seller, event, announced):
        tier = make(rows, TicketTierFactory, event=event)
        drained = seller.post(f"{TIERS}/{tier.id}/drain").json["availability"]
        assert (drained["draining"], drained["on_sale"], drained["paused"]) == (True, False, False)
        resumed = seller.post(f"{TIERS}/{tier.id}/resume").json["availability"]
        assert (resumed["draining"], resumed["on_sale"], announced) == (False, True, [])


class TestAvailability:
    def ask(self, client, tier):
        return client.get(f"{TIERS}/{tier.id}/availability")

    def test_it_tells_what_is_left_and_where_to_go(self, rows, client, event):
        tier = make(rows, TicketTierFactory, event=event, quantity=10, sold=3, reserved=2)
        body = self.ask(client, tier).json
        assert (body["available"], body["on_sale"], body["sold_out"], body["paused"]) == (5, True, False, False)
        assert (body["price"], body["currency"]) == (4500, "EUR")
        assert body["sale_ends_at"] == client.get(f"{EVENTS}/{event.id}").json["ends_at"]
        assert body["links"]["waitlist"] == f"{EVENTS}/{event.id}/waitlist"

    def test_who_waits_comes_first(self, rows, client, event):
        tier = make(rows, TicketTierFactory, event=event, quantity=4)
        make(rows, WaitlistFactory, tier=tier, quantity=4)
        body = self.ask(client, tier).json
        assert (body["available"], body["sold_out"]) == (0, True)

    def test_the_window_is_the_tiers_own(self, rows, client, event, clock):
        opens = clock.now() + timedelta(hours=1)
        tier = make(rows, TicketTierFactory, event=event, sale_starts_at=opens, sale_ends_at=opens + timedelta(hours=1))
        seen = []
        for _ in range(3):
            seen.append(self.ask(client, tier).json["on_sale"])
            clock.advance(hours=1)
        assert seen == [False, True, False]

    def test_a_cancelled_event_sells_nothing(self, rows, client, promoter):
        event = EventFactory(promoter=promoter, status=EventStatus.CANCELLED)
        assert self.ask(client, make(rows, TicketTierFactory, event=event)).json["on_sale"] is False

    def test_an_unknown_tier_is_not_found(self, client, event):
        assert code_of(client.get(f"{TIERS}/{event.id}/availability")) == (404, "not-found")
