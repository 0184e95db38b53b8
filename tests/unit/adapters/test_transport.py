import pytest
from kombu import Connection
from kombu.exceptions import OperationalError
from uuid_utils.compat import uuid7

from adapters.queue import open_queue_app
from adapters.transport import declare_queue, know_queue, transport_options
from domain.messages import PAYMENTS, QUEUES, tier_queue

REDIS, RABBITMQ = "redis://127.0.0.1:6379/0", "amqp://vendor:secret@127.0.0.1:5672//"


class TestTransportOptions:
    @pytest.mark.parametrize("url", [REDIS, "rediss://127.0.0.1:6379/0", "sentinel://127.0.0.1:26379"])
    def test_of_redis_keep_one_list_per_queue(self, url):
        options = transport_options(url)
        assert options["priority_steps"] == [0]
        assert "confirm_publish" not in options

    @pytest.mark.parametrize("url", [RABBITMQ, "amqps://vendor:secret@127.0.0.1:5671//"])
    def test_of_rabbitmq_wait_for_its_word(self, url):
        options = transport_options(url)
        assert options["confirm_publish"]
        assert "visibility_timeout" not in options

    def test_name_the_master_that_sentinels_watch(self):
        assert transport_options("sentinel://127.0.0.1:26379", sentinel_master="tickets")["master_name"] == "tickets"
        assert "master_name" not in transport_options(REDIS)

    def test_try_every_host_once(self):
        hosts = "amqp://127.0.0.1:9//;amqp://localhost:9//;amqp://127.0.0.1:9//"
        tried = []
        with Connection(hosts, transport_options=transport_options(hosts), connect_timeout=1) as connection:
            connection._establish_connection = lambda: tried.append(connection.hostname) or refuse()
            with pytest.raises(OperationalError):
                connection.default_channel  # noqa: B018
        assert tried == ["127.0.0.1", "localhost", "127.0.0.1"]


def refuse():
    raise ConnectionRefusedError


class TestDeclareQueue:
    def test_rabbitmq_keeps_copies_of_every_queue(self):
        for name in (PAYMENTS, tier_queue(uuid7())):
            assert declare_queue(name, RABBITMQ).queue_arguments["x-queue-type"] == "quorum"

    def test_a_tiers_queue_has_one_consumer_at_a_time_and_an_end(self):
        arguments = declare_queue(tier_queue(uuid7()), RABBITMQ).queue_arguments
        assert (arguments["x-single-active-consumer"], arguments["x-expires"]) == (True, 3_600_000)
        assert declare_queue(PAYMENTS, RABBITMQ).queue_arguments == {"x-queue-type": "quorum"}

    def test_redis_is_told_nothing(self):
        assert declare_queue(tier_queue(uuid7()), REDIS).queue_arguments is None

    @pytest.mark.parametrize("url", [REDIS, RABBITMQ])
    def test_only_a_tiers_bell_is_forgotten_when_it_is_handed_over(self, url):
        assert declare_queue(tier_queue(uuid7()), url).no_ack
        assert not any(declare_queue(name, url).no_ack for name in QUEUES)


def test_a_queue_is_known_as_it_is_declared_however_often_it_is_asked_for():
    app = open_queue_app({"broker_url": RABBITMQ, "task_queues": [], "task_create_missing_queues": False})
    name = tier_queue(uuid7())
    known = know_queue(app, name)
    assert known.queue_arguments == declare_queue(name, RABBITMQ).queue_arguments
    assert (know_queue(app, name), app.amqp.queues[name]) == (known, known)
