"""What a buyer is given to prove fairness with, and the log that it is held against."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from domain import allocation
from domain.models import TicketTier
from domain.rules.states import EventStatus, UserRole
from tests.factories import EventFactory, TicketTierFactory, UserFactory, bound_to
from tests.fixtures.fairness import CHECKER, checker, wrongs
from tests.integration.market import CLOCKS

API = "/api/v1"


@pytest.fixture
def mine(sessions, log_in):
    with sessions.begin() as session:
        return log_in(UserFactory(session=session))


@pytest.fixture
def make_tier(sessions):
    def make_tier(event=None, **values):
        with sessions.begin() as session, bound_to(session):
            return TicketTierFactory(event=EventFactory(**(event or {})), **{"quantity": 3, **values})

    return make_tier


@pytest.fixture
def submit(mine):
    def submit(tier, quantity=1, key=None):
        body = {"event_id": str(tier.event_id), "items": [{"tier_id": str(tier.id), "quantity": quantity}]}
        return mine.post(f"{API}/orders", json=body, headers={"Idempotency-Key": key or str(uuid7())})

    return submit


@pytest.fixture
def serve(sessions, clock, services):
    def serve(tier):
        clock.advance(seconds=1)
        with sessions.begin() as session:
            allocation.serve(session, tier.id, clock.now(), CLOCKS, batch=10)
        services.storefront._kept.clear()  # as a moment later

    return serve


@pytest.fixture
def change(sessions):
    def change(tier, **values):
        with sessions.begin() as session:
            session.execute(update(TicketTier).where(TicketTier.id == tier.id).values(**values))

    return change


def download(client, tier):
    answer = client.get(f"{API}/tiers/{tier.id}/fairness")
    assert (answer.status_code, answer.mimetype) == (200, "application/x-ndjson"), answer.json
    return [json.loads(line) for line in answer.data.splitlines()]


class TestReceipt:
    def test_is_the_same_in_the_202_in_its_replay_and_in_each_poll(self, mine, make_tier, submit, serve):
        tier = make_tier()
        first = submit(tier, 2, "k")
        (item,) = first.json["items"]
        receipt = item["receipt"]
        assert receipt.items() >= {"tier_id": str(tier.id), "order_id": first.json["id"], "quantity": 2}.items()
        assert (receipt["sequence"], receipt["received_at"]) == (first.json["sequence"], first.json["created_at"])
        serve(tier)
        again = submit(tier, 2, "k")
        shown = [mine.get(first.headers["Location"]).json, mine.get(f"{API}/orders").json["items"][0]]
        assert [body["items"][0]["receipt"] for body in (again.json, *shown)] == [receipt] * 3
        assert item["head"]["position"] == 0
        assert again.json["items"][0]["head"]["position"] == 2

    def test_is_genuine_by_the_public_keys(self, client, make_tier, submit):
        proofs = checker.Proofs()
        proofs.collect(client.get(f"{API}/receipt-keys").json, "keys")
        proofs.collect(submit(make_tier()).json, "order")
        (found,) = checker.check_receipts([], proofs.receipts, proofs.keys)
        assert found.endswith("was not decided in this log, which has 0 entries"), "only the entry is missing"
        assert list(checker.check_heads(proofs.heads[0]["tier_id"], [], proofs.heads, proofs.keys)) == []

    def test_is_for_the_buyer_only(self, log_in, sessions, make_tier, submit):
        order = submit(make_tier()).json
        with sessions.begin() as session:
            admin = log_in(UserFactory(session=session, role=UserRole.ADMIN))
        (item,) = admin.get(f"{API}/orders/{order['id']}").json["items"]
        assert item["receipt"] is None
        assert item["head"]["position"] == 0


def test_an_order_that_stands_still_is_told_the_heads(mine, make_tier, submit, serve, change):
    tier = make_tier()
    order = submit(tier)
    change(tier, is_paused=True)
    where = order.headers["Location"]
    tag = mine.get(where).headers["ETag"]
    still = mine.get(where, headers={"If-None-Match": tag})
    assert still.status_code == 304
    (head,) = json.loads(still.headers["Fairness-Head"])
    assert head == mine.get(where).json["items"][0]["head"]


class TestLog:
    def test_convinces_the_published_checker(self, client, make_tier, submit, serve, capsys, tmp_path):
        tier = make_tier()
        kept = [submit(tier, quantity).json for quantity in (2, 1)]
        serve(tier)
        log = download(client, tier)
        assert [line["kind"] for line in log[1:]] == ["stock", "served", "served"]
        assert wrongs(log, *kept, capsys=capsys, tmp_path=tmp_path) == []
        del log[2]
        assert wrongs(log, *kept, capsys=capsys, tmp_path=tmp_path)[0].startswith("position 2: the entry is missing")

    def test_names_the_tier_and_the_checker_and_nobody_else(self, client, make_tier, submit, serve):
        tier = make_tier()
        order = submit(tier, 3).json
        serve(tier)
        title, *entries = download(client, tier)
        assert (title["tier_id"], title["head"]["position"]) == (str(tier.id), len(entries))
        assert title["checker"].endswith(f"{API}/fairness/check.py")
        assert order["id"] not in json.dumps(entries)
        assert order["items"][0]["receipt"]["salt"] not in json.dumps(entries)

    def test_is_not_published_while_the_sale_goes_on(self, client, make_tier, clock):
        coming = clock.now() + timedelta(days=1)
        for state in ({}, {"is_paused": True}, {"is_draining": True}, {"sale_starts_at": coming}):
            tier = make_tier(**state)
            answer = client.get(f"{API}/tiers/{tier.id}/fairness")
            assert (answer.status_code, answer.json["code"]) == (409, "sale-not-over")

    def test_is_published_when_the_sale_is_over(self, client, make_tier, clock):
        ended = make_tier(sale_ends_at=clock.now())
        cancelled = make_tier(event={"status": EventStatus.CANCELLED})
        for tier in (ended, cancelled, make_tier(is_active=False), make_tier(quantity=0)):
            (title,) = download(client, tier)
            assert title["head"]["position"] == 0

    def test_of_a_private_event_is_for_its_promoter(self, client, seller, promoter, sessions):
        with sessions.begin() as session, bound_to(session):
            event = EventFactory(promoter=session.merge(promoter), is_private=True)
            tier = TicketTierFactory(event=event, quantity=0)
        assert client.get(f"{API}/tiers/{tier.id}/fairness").status_code == 404
        assert len(download(seller, tier)) == 1

    def test_of_an_unknown_tier_is_not_found(self, client):
        assert client.get(f"{API}/tiers/{uuid7()}/fairness").json["code"] == "not-found"


def test_the_checker_is_served_as_it_is(client):
    answer = client.get(f"{API}/fairness/check.py")
    assert (answer.status_code, answer.data) == (200, CHECKER.read_bytes())
