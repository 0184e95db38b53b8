import subprocess
import time

import pytest
import redis as redis_client
from uuid_utils.compat import uuid7

from adapters.broker import Broker, BrokerError
from adapters.queue import Dispatcher, open_queue_app
from adapters.transport import declare_queue, transport_options
from domain.messages import OpenPayment
from tests.integration.market import until
from tools.stack.leash import tether
from tools.stack.ports import HOST, Port
from tools.stack.valkey import binary

MASTER = "tickets"


class TestBroker:
    def test_that_answers_is_alive_and_counts_what_waits(self, redis, redis_url):
        redis.rpush("payments", "a", "b")
        broker = Broker(redis_url, timeout_seconds=1)
        broker.ping()
        assert broker.depths(["payments", "tickets"]) == {"payments": 2, "tickets": 0}

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_that_is_not_there_is_an_error(self, scheme):
        with pytest.raises(BrokerError):
            Broker(f"{scheme}://{HOST}:9/0", timeout_seconds=0.4).ping()

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_that_does_not_say_a_word_is_an_error_in_time(self, scheme, silent_server):
        began = time.monotonic()
        with pytest.raises(BrokerError):
            Broker(f"{scheme}://{HOST}:{silent_server}/0", timeout_seconds=0.4).depths(["payments"])
        assert time.monotonic() - began < 1


class Valkeys:
    """A master, its replica and a Sentinel that watches them, on the loopback."""

    def __init__(self, folder):
        self._folder = folder
        self._ports = {name: Port(0) for name in ("master", "replica", "sentinel")}
        self._processes = {}
        password = ("requirepass secret", "masterauth secret", "repl-diskless-sync-delay 0")
        self._start("master", *password)
        self._start("replica", *password, f"replicaof {HOST} {self.port('master')}")
        self._start(
            "sentinel",
            f"sentinel monitor {MASTER} {HOST} {self.port('master')} 1",
            f"sentinel auth-pass {MASTER} secret",
            f"sentinel down-after-milliseconds {MASTER} 500",
            f"sentinel failover-timeout {MASTER} 2000",
        )

    @property
    def url(self):
        """The Sentinels' addresses: the first of them is down."""
        return f"sentinel://:secret@{HOST}:9/0;sentinel://:secret@{HOST}:{self.port('sentinel')}/0"

    def port(self, name):
        return self._ports[name].number

    def ask(self, name, *words):
        password = None if name == "sentinel" else "secret"
        with redis_client.Redis(HOST, self.port(name), password=password, decode_responses=True) as client:
            return client.execute_command(*words)

    def kill(self, name):
        self._processes[name].kill()
        self._processes[name].wait()

    def stop(self):
        for name in self._processes:
            self.kill(name)

    def _start(self, name, *lines):
        configuration = self._folder / f"{name}.conf"
        mine = (f"port {self.port(name)}", f"bind {HOST}", f'dir "{self._folder}"', f"logfile {name}.log")
        configuration.write_text("\n".join([*mine, *lines, ""]))
        self._ports[name].release()
        mode = ["--sentinel"] if name == "sentinel" else ["--save", ""]
        self._processes[name] = subprocess.Popen(tether([str(binary()), str(configuration), *mode]))


@pytest.fixture
def valkeys(tmp_path):
    running = Valkeys(tmp_path)
    yield running
    running.stop()


def is_watched(valkeys):
    """Return the question whether the Sentinel knows of a replica that has caught up."""

    def is_watched():
        try:
            watched = valkeys.ask("sentinel", "SENTINEL", "REPLICAS", MASTER)
            return [replica["master-link-status"] for replica in watched] == ["ok"]
        except redis_client.RedisError:
            return False

    return is_watched


def test_what_is_announced_follows_the_master_that_sentinels_choose(valkeys):
    options = transport_options(valkeys.url, sentinel_master=MASTER)
    queues = [declare_queue("payments", valkeys.url)]
    app = open_queue_app({"broker_url": valkeys.url, "broker_transport_options": options, "task_queues": queues})
    dispatcher = Dispatcher(app)
    broker = Broker(valkeys.url, timeout_seconds=1, sentinel_master=MASTER)
    until(is_watched(valkeys))
    dispatcher({OpenPayment(uuid7()): None})
    until(lambda: broker.depths(["payments"]) == {"payments": 1})
    valkeys.ask("master", "WAIT", "1", "5000")
    valkeys.kill("master")
    dispatcher({OpenPayment(uuid7()): None})
    until(lambda: valkeys.ask("replica", "LLEN", "payments") == 2, seconds=60)
    assert broker.depths(["payments"]) == {"payments": 2}
    dispatcher.close()
    app.close()
