import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from kombu import Connection
from uuid_utils.compat import uuid7

from adapters.broker import Broker
from adapters.queue import Dispatcher, find_idle, open_queue_app
from adapters.transport import transport_options
from domain.messages import QUEUES, ServeTier, tier_queue
from tests.fixtures.stack import Stack
from tests.integration.market import until
from tools.stack.ports import HOST

pytestmark = pytest.mark.timeout(360)

BUYERS = 8
RESERVED = """
    SELECT count(*) FROM order_items WHERE tier_id = :id AND inventory_state IN ('reserved', 'sold')
"""


@pytest.fixture(scope="module")
def stack(rabbitmq, tmp_path_factory):
    """Return the whole system, whose messages travel over RabbitMQ; Redis counts the rate limits alone."""
    running = Stack(tmp_path_factory.mktemp("over-rabbitmq"), CELERY_BROKER_URL=rabbitmq.url)
    yield running
    running.stop()


def order_all(buyers, tier):
    with ThreadPoolExecutor(len(buyers)) as pool:
        return list(pool.map(lambda buyer: buyer.order(tier), buyers))


def complete(buyers, answers):
    return [
        buyer.poll(answer.json(), lambda now: now["stage"] == "complete", seconds=60)["status"]
        for buyer, answer in zip(buyers, answers, strict=True)
    ]


def test_a_node_that_is_away_is_passed_over(rabbitmq):
    url = f"amqp://vendor:secret@{HOST}:9//;{rabbitmq.url}"
    options = transport_options(url)
    app = open_queue_app({"broker_url": url, "broker_transport_options": options, "task_create_missing_queues": False})
    dispatcher, ring = Dispatcher(app), ServeTier(uuid7())
    dispatcher({ring: None})
    until(lambda: Broker(url, timeout_seconds=2).depths([ring.queue]) == {ring.queue: 1})
    nowhere = tier_queue(uuid7())
    assert find_idle(app, [nowhere, ring.queue]) == {nowhere}
    dispatcher.close()
    app.close()


def test_a_purchase_ends_in_tickets_and_a_mail(stack, rabbitmq):
    buyer = stack.people(1)[0]
    tier = stack.tier()
    order = buyer.buy(tier, quantity=2)
    assert [ticket["status"] for ticket in order["tickets"]] == ["valid", "valid"]
    assert stack.mail_to(buyer.email, order["number"])
    with Connection(rabbitmq.url) as connection:
        lying = [connection.channel().queue_declare(name, passive=True) for name in (*QUEUES, tier_queue(tier["id"]))]
    # One worker consumes each queue, and one of the two allocators the tier's.
    assert [queue.consumer_count for queue in lying] == [1] * len(lying)
    assert Broker(rabbitmq.url, timeout_seconds=5).depths([queue.queue for queue in lying])["payments"] == 0


def test_a_sale_goes_on_while_the_broker_is_dead_and_settles_when_it_is_back(stack, rabbitmq):
    buyers = stack.people(BUYERS)
    tier = stack.tier(price=0)
    before = order_all(buyers, tier)
    rabbitmq.kill()
    began = time.monotonic()
    after = order_all(buyers, tier)
    assert time.monotonic() - began < 2
    assert {answer.status_code for answer in (*before, *after)} == {202}
    stack.until(RESERVED, [(2 * BUYERS,)], id=tier["id"], seconds=15)
    rabbitmq.start()
    assert complete([*buyers, *buyers], [*before, *after]) == ["confirmed"] * 2 * BUYERS
    stack.until("SELECT reserved, sold FROM ticket_tiers WHERE id = :id", [(0, 2 * BUYERS)], id=tier["id"])
