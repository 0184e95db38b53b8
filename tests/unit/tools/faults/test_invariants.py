from types import SimpleNamespace

import pytest

from tools.faults import invariants
from tools.faults.book import Book, Request
from tools.faults.invariants import Scene, check_order
from tools.faults.market import Sale, Tier


def order(status="confirmed", *, total=1000, refunded=0, quantity=2, live=2, ready=True):
    tickets = [{"status": "valid", "ready": ready}] * live + [{"status": "refunded", "ready": True}]
    amounts = {"total": total, "refunded": refunded}
    return {"status": status, "amounts": amounts, "tickets": tickets, "items": [{"quantity": quantity}]}


@pytest.mark.parametrize(
    ("good", "kept"),
    [
        (order(), 1000),
        (order(refunded=500, live=1), 500),
        (order("cancelled", live=0), 0),
        (order("refunded", refunded=1000, live=0), 0),
        (order(total=0), 0),
    ],
)
def test_an_order_whose_money_and_tickets_agree_is_right(good, kept):
    assert list(check_order(good, kept)) == []


@pytest.mark.parametrize(
    ("bad", "kept", "wrong"),
    [
        (order("cancelled", live=0), 1000, "costs 0 at its end, and Stripe keeps 1000"),
        (order(), 2000, "costs 1000 at its end, and Stripe keeps 2000"),
        (order("refunded", refunded=1000, live=0), 1000, "was paid and has no ticket"),
        (order(), 0, "has 2 tickets and was not paid"),
        (order(live=1), 1000, "is for 2 tickets and has 1"),
        (order(ready=False), 1000, "has tickets without their codes"),
    ],
)
def test_each_way_in_which_they_do_not_is_told(bad, kept, wrong):
    assert wrong in list(check_order(bad, kept))


def accepted(order_id, *, key="a", began=0.0, answered=1.0, sequence=1, tiers=("plenty",)):
    request = Request("bo@example.com", tiers, key, began, answered=answered, status=202)
    request.order_id, request.sequence = order_id, sequence
    return request


def scene(*requests, charges=()):
    book = Book()
    book.requests += requests
    tiers = {name: Tier(name, "event", name, 1) for name in ("plenty", "rush")}
    return Scene(SimpleNamespace(charges=lambda: list(charges)), None, Sale("event", tiers), book)


def stored(order_id, *, stage="complete", sequence=1, held=()):
    tickets = [{"tier_id": tier, "status": "valid", "ready": True} for tier in held]
    known = {"id": order_id, "stage": stage, "sequence": sequence, "source": "direct", "tickets": tickets}
    return {**order(live=len(held), quantity=len(held)), **known, "tickets": tickets}


class TestPromises:
    def test_an_accepted_order_that_is_gone_is_told(self):
        assert list(invariants._promises(scene(accepted("1")), {})) == [
            "order 1 was accepted, and its buyer cannot see it"
        ]

    def test_so_is_one_that_never_ends_or_has_another_number(self):
        for wrong in (stored("1", stage="queued"), stored("1", sequence=2)):
            assert len(list(invariants._promises(scene(accepted("1")), {"1": wrong}))) == 1

    def test_so_is_one_that_answers_two_purchases(self):
        told = invariants._promises(scene(accepted("1"), accepted("1", key="b")), {"1": stored("1")})
        assert list(told) == ["order 1 was the answer to two purchases"]

    def test_so_is_one_that_nobody_asked_for(self):
        assert len(list(invariants._promises(scene(), {"1": stored("1")}))) == 1


class TestMoney:
    def charge(self, order_id):
        return {"metadata": {"event_id": "event", "order_id": order_id}, "amount": 1000, "amount_refunded": 0}

    def test_a_second_charge_and_a_charge_for_nobody_are_told(self):
        charges = [self.charge("1"), self.charge("1"), self.charge("2")]
        told = list(invariants._money(scene(charges=charges), {"1": stored("1", held=["plenty"])}))
        assert "order 1 was charged 2 times" in told
        assert "Stripe has charges for order 2, which no buyer has" in told

    def test_one_charge_with_its_tickets_is_right(self):
        found = scene(charges=[self.charge("1")])
        assert list(invariants._money(found, {"1": stored("1", held=["plenty"])})) == []


def test_more_tickets_than_were_for_sale_are_told():
    every = {number: stored(number, held=["plenty"]) for number in ("1", "2")}
    assert list(invariants._stock(scene(), every)) == ["2 tickets of plenty are held, and 1 were for sale"]


def test_a_rush_that_left_tickets_unsold_is_told():
    assert len(list(invariants._stock(scene(accepted("1", tiers=("rush",))), {}))) == 1


def test_whoever_is_refused_before_a_later_one_is_served_is_told():
    first = accepted("1", tiers=("rush",))
    later = accepted("2", key="b", began=2.0, answered=3.0, sequence=2, tiers=("rush",))
    every = {"1": stored("1", stage="closed"), "2": stored("2", sequence=2)}
    assert len(list(invariants._fairness(scene(first, later), every))) == 1
