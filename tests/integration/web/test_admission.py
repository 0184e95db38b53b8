"""What overload is cut down to, over HTTP: who is refused, what they are told, and who is answered all the same."""

import threading

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from domain.rules.states import OrderStage
from tests.factories import OrderFactory, TicketTierFactory, UserFactory
from web.lines import Lines

ORDERS = "/api/v1/orders"


@pytest.fixture
def buyer(rows):
    buyer = UserFactory()
    rows.commit()
    return buyer


@pytest.fixture
def tier(rows):
    tier = TicketTierFactory(quantity=100)
    rows.commit()
    return tier


def submit(client, tier):
    body = {"event_id": str(tier.event_id), "items": [{"tier_id": str(tier.id), "quantity": 1}]}
    return client.post(ORDERS, json=body, headers={"Idempotency-Key": str(uuid7())})


def told(answer):
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    return answer.status_code, answer.json["code"]


def test_one_person_cannot_fill_the_line(log_in, rows, buyer, tier, settings):
    mine = log_in(buyer)
    orders = [submit(mine, tier) for _ in range(settings.waiting_orders_per_person)]
    assert {answer.status_code for answer in orders} == {202}
    assert told(submit(mine, tier)) == (429, "too-many-waiting")
    other = UserFactory()
    rows.commit()
    assert submit(log_in(other), tier).status_code == 202
    assert mine.post(f"{ORDERS}/{orders[0].json['id']}/cancel").status_code == 202
    assert submit(mine, tier).status_code == 202


def test_a_drained_tier_says_what_to_do(log_in, buyer, rows, tier):
    tier.is_draining = True
    rows.commit()
    answer = submit(log_in(buyer), tier)
    assert (answer.status_code, answer.json["code"]) == (409, "sale-draining")
    assert "those in line are served" in answer.json["detail"]


def test_reads_go_on_while_every_seat_of_those_who_buy_is_taken(log_in, buyer, tier, services):
    mine = log_in(buyer)
    order = submit(mine, tier)
    seats = services.accept_seats
    taken = [seats.acquire(blocking=False) for _ in range(services.settings.web_threads)]
    assert 0 < sum(taken) < services.settings.web_threads
    assert told(submit(mine, tier)) == (503, "busy")
    assert mine.get(order.headers["Location"]).status_code == 200
    assert mine.get(f"/api/v1/tiers/{tier.id}/availability").status_code == 200
    seats.release(sum(taken))
    assert submit(mine, tier).status_code == 202


def test_reads_do_not_wait_for_a_batch_nor_for_who_buys(log_in, buyer, tier, engine):
    mine = log_in(buyer)
    order = submit(mine, tier)
    with engine.connect() as consumer, consumer.begin():
        # As in the consumer's round: the order and the tier are locked until its commit.
        consumer.execute(text("SELECT FROM orders WHERE id = :id FOR NO KEY UPDATE"), {"id": order.json["id"]})
        consumer.execute(text("SELECT FROM ticket_tiers WHERE id = :id FOR NO KEY UPDATE"), {"id": tier.id})
        answers = []

        def ask():
            answers.append(mine.get(order.headers["Location"]))
            answers.append(mine.get(f"/api/v1/tiers/{tier.id}/availability"))
            answers.append(submit(mine, tier))

        asked = threading.Thread(target=ask)
        asked.start()
        asked.join(4)
        assert [answer.status_code for answer in answers] == [200, 200, 202]


def test_a_long_line_is_counted_as_those_who_poll_count_it(rows, tier, services, monkeypatch):
    monkeypatch.setattr("domain.storefront.COUNTED", 3)
    monkeypatch.setattr("web.storefront.COUNTED", 3)
    monkeypatch.setattr("domain.whole_line.IN_FLIGHT", 0)
    for quantity in (1, 2, 1, 2, 1):
        OrderFactory(tier=tier, quantity=quantity)
    OrderFactory(tier=tier, stage=OrderStage.HELD)
    rows.commit()
    line = services.storefront.look([tier.id])[tier.id].line
    assert (line.orders, line.quantity) == (5, 7)
    assert isinstance(services.storefront._lines, Lines)
