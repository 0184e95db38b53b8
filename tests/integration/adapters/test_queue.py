import base64
import json
import socket
import subprocess
import sys
import time
from types import SimpleNamespace
from uuid import UUID

import pytest
import redis as redis_client
import structlog
from kombu import Queue
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from adapters import queue
from adapters.queue import Dispatcher, find_idle, open_queue_app, send
from domain.messages import PARCELS, ConfirmPayment, OpenPayment, SendMail, ServeTier
from tests.integration.market import until
from tools.stack.embedded import EmbeddedServers
from tools.stack.environment import ROOT


@pytest.fixture
def open_dispatcher():
    """Return a function that opens a dispatcher to a broker; it is closed after the test."""
    opened = []

    def open_dispatcher(url):
        config = SimpleNamespace(
            broker_url=url,
            broker_connection_timeout=1,
            broker_transport_options={"priority_steps": [0], "socket_connect_timeout": 1, "socket_timeout": 1},
            task_queues=[Queue("payments"), Queue("notifications")],
            task_create_missing_queues=True,
        )
        dispatcher = Dispatcher(open_queue_app(config))
        opened.append(dispatcher)
        return dispatcher

    yield open_dispatcher
    for dispatcher in opened:
        dispatcher.close()
        dispatcher._app.close()


@pytest.fixture
def dispatcher(open_dispatcher, redis, redis_url):
    return open_dispatcher(redis_url)


def lying(redis, queue="payments"):
    """Return the messages that lie in a queue, in the order in which they will be fetched."""
    return [json.loads(raw) for raw in reversed(redis.lrange(queue, 0, -1))]


def bodies(redis, queue="payments"):
    """Return the task and the arguments of each message that lies in a queue."""
    return [
        (message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[1])
        for message in lying(redis, queue)
    ]


def opened(redis):
    """Return the orders whose payments the messages in the queue ask to be opened."""
    return [order_id for _, body in bodies(redis) for order_id in body["order_ids"]]


def test_messages_travel_in_their_queues_with_ids_as_their_payload(dispatcher, redis):
    order_id, tier_id = uuid7(), uuid7()
    dispatcher({OpenPayment(order_id): None, ServeTier(tier_id): None})
    until(lambda: redis.llen(f"tier.{tier_id}") == 1)
    assert bodies(redis) == [("payments.open", {"order_ids": [str(order_id)]})]
    assert bodies(redis, f"tier.{tier_id}") == [("allocation.serve", {"tier_id": str(tier_id)})]


def test_the_same_message_is_published_once_while_it_waits(dispatcher, redis):
    orders = [uuid7() for _ in range(3)]
    with dispatcher._changed:
        # The thread cannot take anything meanwhile: a rush of announcements.
        for _ in range(50):
            for order_id in orders:
                dispatcher._pending.setdefault(OpenPayment(order_id), None)
    dispatcher({OpenPayment(orders[0]): None, SendMail(orders[0]): None})
    until(lambda: redis.llen("notifications") == 1)
    assert opened(redis) == [str(order_id) for order_id in orders]


def test_a_message_that_comes_again_later_is_published_again(dispatcher, redis):
    message = OpenPayment(uuid7())
    for count in (1, 2):
        dispatcher({message: None})
        until(lambda count=count: redis.llen("payments") == count)


class TestSharing:
    @pytest.fixture
    def announce_all(self, dispatcher):
        """Return a function that announces messages at once, and returns when they have been published."""

        def announce_all(messages):
            dispatcher(messages)
            dispatcher.close(10)

        return announce_all

    def test_many_orders_travel_in_a_few_messages_and_each_in_one(self, announce_all, redis):
        orders = [str(uuid7()) for _ in range(500)]
        announce_all({OpenPayment(UUID(order_id)): None for order_id in orders})
        assert redis.llen("payments") <= PARCELS
        assert opened(redis) == orders

    def test_few_orders_are_spread_one_by_one(self, announce_all, redis):
        announce_all({OpenPayment(uuid7()): None for _ in range(PARCELS)})
        assert redis.llen("payments") == PARCELS

    def test_each_order_keeps_its_request_id(self, announce_all, redis):
        orders = {str(uuid7()): f"r-{number}" for number in range(2 * PARCELS)}
        structlog.contextvars.clear_contextvars()
        orders[next(iter(orders))] = None
        announce_all({OpenPayment(UUID(order_id)): request_id for order_id, request_id in orders.items()})
        ids = [request_id for message in lying(redis) for request_id in message["headers"]["request_ids"]]
        assert dict(zip(opened(redis), ids, strict=True)) == orders

    def test_other_messages_travel_alone(self, announce_all, redis):
        announce_all({ConfirmPayment(uuid7()): None for _ in range(2 * PARCELS)})
        assert redis.llen("payments") == 2 * PARCELS

    def test_all_of_it_goes_to_the_broker_at_once(self, dispatcher):
        with dispatcher._app.producer_or_acquire() as producer:
            assert producer.supports_batch_publish


class TestRequestIds:
    def test_the_header_carries_the_request_that_made_the_order(self, dispatcher, redis):
        dispatcher({OpenPayment(uuid7()): "r-order"})
        until(lambda: redis.llen("payments") == 1)
        assert lying(redis)[0]["headers"]["request_id"] == "r-order"

    def test_else_the_one_of_whoever_sends_it(self, dispatcher, redis):
        with structlog.contextvars.bound_contextvars(request_id="r-current"):
            dispatcher({OpenPayment(uuid7()): None, SendMail(uuid7()): "r-order"})
        until(lambda: redis.llen("notifications") == 1)
        assert lying(redis)[0]["headers"]["request_id"] == "r-current"
        assert lying(redis, "notifications")[0]["headers"]["request_id"] == "r-order"

    def test_without_one_there_is_no_header(self, dispatcher, redis):
        structlog.contextvars.clear_contextvars()
        dispatcher({OpenPayment(uuid7()): None})
        until(lambda: redis.llen("payments") == 1)
        assert "request_id" not in lying(redis)[0]["headers"]


@pytest.fixture
def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class TestTrouble:
    def test_nobody_waits_for_a_broker_that_is_away(self, open_dispatcher, unused_port):
        dispatcher = open_dispatcher(f"redis://127.0.0.1:{unused_port}/0")
        with capture_logs() as logs:
            started = time.monotonic()
            for _ in range(100):
                dispatcher({OpenPayment(uuid7()): None})
            assert time.monotonic() - started < 0.25
            until(lambda: "dispatch.delayed" in [entry["event"] for entry in logs])
        started = time.monotonic()
        dispatcher.close()
        assert time.monotonic() - started < 2

    def test_nor_for_one_that_does_not_say_a_word(self, open_dispatcher, silent_server):
        dispatcher = open_dispatcher(f"redis://127.0.0.1:{silent_server}/0")
        started = time.monotonic()
        for _ in range(100):
            dispatcher({OpenPayment(uuid7()): None})
        assert time.monotonic() - started < 0.25

    def test_what_waited_is_delivered_when_the_broker_returns(self, open_dispatcher):
        with EmbeddedServers() as servers:
            dispatcher = open_dispatcher(servers.valkey.url)
            messages = [OpenPayment(uuid7()) for _ in range(3)]
            with capture_logs() as logs:
                dispatcher(dict.fromkeys(messages))
                until(lambda: "dispatch.delayed" in [entry["event"] for entry in logs])
            dispatcher({messages[0]: None})
            servers.start_valkey()
            with redis_client.from_url(servers.valkey.url) as redis:
                until(lambda: redis.llen("payments") == 3)
                assert opened(redis) == [str(m.order_id) for m in messages]
            dispatcher.close()

    def test_a_backlog_is_bounded(self, open_dispatcher, unused_port, monkeypatch):
        monkeypatch.setattr(queue, "BACKLOG", 5)
        dispatcher = open_dispatcher(f"redis://127.0.0.1:{unused_port}/0")
        for _ in range(20):
            dispatcher({OpenPayment(uuid7()): None})
        with dispatcher._changed:
            assert len(dispatcher._pending) <= 5

    def test_a_broker_that_forgot_everything_is_published_to_all_the_same(self, dispatcher, redis):
        dispatcher({OpenPayment(uuid7()): None})
        until(lambda: redis.llen("payments") == 1)
        redis.flushall()
        tier_id, message = uuid7(), OpenPayment(uuid7())
        dispatcher({message: None, ServeTier(tier_id): None})
        until(lambda: redis.llen(f"tier.{tier_id}") == 1)
        assert bodies(redis) == [("payments.open", {"order_ids": [str(message.order_id)]})]

    def test_closing_publishes_what_waits(self, dispatcher, redis):
        dispatcher({OpenPayment(uuid7()): None})
        dispatcher.close()
        assert redis.llen("payments") == 1


FORK = """
import os, sys
from uuid import uuid4
from adapters.queue import Dispatcher, open_queue_app
from domain.messages import OpenPayment

dispatcher = Dispatcher(open_queue_app({"broker_url": sys.argv[1]}))
dispatcher({OpenPayment(uuid4()): "parent"})
dispatcher.close(10)
dispatcher._closing = False
with dispatcher._changed:
    # A child of a process that is in the middle of something: its lock is held, and a message waits.
    dispatcher._pending[OpenPayment(uuid4())] = "parent, later"
    child = os.fork()
if child == 0:
    dispatcher({OpenPayment(uuid4()): "child"})
    dispatcher.close(10)
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


def test_a_forked_child_publishes_its_own_messages_and_not_its_parents(redis, redis_url):
    command = [sys.executable, "-W", "ignore", "-c", FORK, redis_url]
    subprocess.run(command, check=True, timeout=30, cwd=ROOT)
    assert [message["headers"]["request_id"] for message in lying(redis)][:2] == ["parent", "child"]
    assert "parent, later" not in [message["headers"]["request_id"] for message in lying(redis)][:2]


def test_queues_in_which_nothing_lies_are_found(dispatcher, redis):
    app, unknown = dispatcher._app, f"tier.{uuid7()}"
    assert find_idle(app, ["payments", "notifications", unknown]) == {"payments", "notifications", unknown}
    for _ in range(3):
        send(app, OpenPayment(uuid7()))
    assert find_idle(app, ["payments", "notifications", unknown]) == {"notifications", unknown}
