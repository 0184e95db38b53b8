import pytest
import redis as redis_client

from tools.stack.embedded import EmbeddedServers
from tools.stack.valkey import ValkeyError, binary


def test_it_asks_for_its_password_and_keeps_what_it_cannot_hold(redis_url, redis):
    assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    without = redis_url.replace(":local@", "")
    with redis_client.from_url(without) as stranger, pytest.raises(redis_client.AuthenticationError):
        stranger.ping()


def test_it_does_not_serve_before_it_is_started():
    with EmbeddedServers() as servers:
        assert not servers.valkey.is_ready()
        assert servers.start_valkey().is_ready()


def test_another_server_may_be_chosen(monkeypatch, tmp_path):
    chosen = tmp_path / "redis-server"
    chosen.touch(mode=0o755)
    monkeypatch.setenv("REDIS_SERVER_BIN", str(chosen))
    assert binary() == chosen


def test_a_chosen_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("REDIS_SERVER_BIN", "no-such-server")
    with pytest.raises(ValkeyError, match="no-such-server"):
        binary()
