import time

import pytest

from tests.factories import PASSWORD, UserFactory
from web.app import create_app
from web.rate_limits import REDIS_TIMEOUT_SECONDS
from web.services import Services

LOGIN = "/api/v1/auth/login"


@pytest.fixture
def limited(settings, sessions, hasher, clock, redis, redis_url):
    """Return a way to make a client of an app with limits."""

    def make(**changes):
        values = {"rate_limits": "on", "redis_url": redis_url, "rate_limit_anonymous": "3/minute", **changes}
        limits = settings.model_copy(update=values)
        return create_app(services=Services(limits, sessions, hasher, clock)).test_client()

    return make


@pytest.fixture
def user(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


def token_of(client, user):
    return client.post(LOGIN, json={"email": user.email, "password": PASSWORD}).json["access_token"]


class TestLimits:
    def test_strangers_are_counted_by_network_over_all_addresses(self, limited):
        client = limited()
        for left, path in [(2, "/docs"), (1, "/openapi.json"), (0, "/docs")]:
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.headers["RateLimit-Policy"] == '"anonymous";q=3;w=60'
            assert answer.headers["RateLimit"].startswith(f'"anonymous";r={left};t=')
        answer = client.get("/docs")
        assert (answer.status_code, answer.json["code"]) == (429, "rate-limited")
        assert answer.json["violated-policies"] == ["anonymous"]
        seconds = int(answer.headers["RateLimit"].rpartition("t=")[2])
        assert seconds <= int(answer.headers["Retry-After"]) <= seconds + 3
        assert client.get("/docs", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200

    def test_the_counters_are_shared_by_processes(self, limited):
        first, second = limited(), limited()
        statuses = [client.get("/docs").status_code for client in (first, second, first, second)]
        assert statuses == [200, 200, 200, 429]

    def test_users_have_a_limit_of_their_own(self, limited, user):
        client = limited(rate_limit_user="2/minute")
        headers = {"Authorization": f"Bearer {token_of(client, user)}"}
        answers = [client.get("/api/v1/auth/me", headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert client.get("/docs").status_code == 200

    def test_a_bad_token_is_counted_too(self, limited):
        client = limited()
        statuses = [client.get("/docs", headers={"Authorization": "Bearer x"}).status_code for _ in range(4)]
        assert statuses == [401, 401, 401, 429]

    def test_a_neighbourhood_of_ipv6_addresses_counts_as_one(self, limited):
        client = limited()
        addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::ffff", "2001:db8:0:0:1::", "2001:db8:0:1::1"]
        statuses = [client.get("/docs", environ_base={"REMOTE_ADDR": address}).status_code for address in addresses]
        assert statuses == [200, 200, 200, 429, 200]

    def test_account_routes_share_a_narrow_one_whoever_asks(self, limited, user):
        client = limited(rate_limit_accounts="2/minute")
        headers = {"Authorization": f"Bearer {token_of(client, user)}"}
        statuses = [client.post("/api/v1/auth/verify-email/resend", headers=headers).status_code for _ in range(2)]
        assert statuses == [202, 429]

    def test_a_proxys_word_is_taken_only_when_it_is_trusted(self, limited):
        trusting, careful = limited(trusted_proxies=1, rate_limit_anonymous="1/minute"), limited()
        addresses = [{"X-Forwarded-For": f"198.51.100.{n}"} for n in range(4)]
        assert [careful.get("/docs", headers=headers).status_code for headers in addresses] == [200, 200, 200, 429]
        assert [trusting.get("/docs", headers=headers).status_code for headers in addresses] == [200] * 4

    def test_a_page_says_it_as_a_page(self, limited):
        client = limited()
        for _ in range(3):
            client.get("/verify-email")
        answer = client.get("/verify-email")
        assert (answer.status_code, answer.mimetype) == (429, "text/html")

    def test_can_be_switched_off(self, limited):
        client = limited(rate_limits="off")
        answers = [client.get("/docs") for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        assert not any("RateLimit" in answer.headers for answer in answers)


class TestWithoutRedis:
    def test_the_limits_hold_in_this_process(self, limited):
        client = limited(redis_url="redis://127.0.0.1:9/0")
        assert [client.get("/docs").status_code for _ in range(4)] == [200, 200, 200, 429]

    def test_a_silent_redis_costs_little(self, limited, silent_server):
        client = limited(redis_url=f"redis://127.0.0.1:{silent_server}/0", rate_limit_anonymous="1000/minute")
        client.get("/openapi.json")
        started = time.perf_counter()
        for _ in range(20):
            assert client.get("/openapi.json").status_code == 200
        # At most a few looks whether it is back, each bounded.
        assert time.perf_counter() - started < 10 * REDIS_TIMEOUT_SECONDS + 0.5


class TestFailedLogIns:
    def test_an_address_is_closed_to_a_network_after_five_wrong_passwords(self, limited, user):
        client = limited(rate_limit_accounts="1000/minute")
        wrong = {"email": user.email, "password": "wrong"}
        assert [client.post(LOGIN, json=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
        right = {"email": user.email.upper(), "password": PASSWORD}
        refused = client.post(LOGIN, json=right)
        assert (refused.status_code, refused.json["code"]) == (429, "rate-limited")
        assert int(refused.headers["Retry-After"]) > 60
        assert client.post(LOGIN, json=right, environ_base={"REMOTE_ADDR": "192.0.2.9"}).status_code == 200

    def test_an_unknown_address_is_treated_alike(self, limited):
        client = limited(rate_limit_accounts="1000/minute")
        wrong = {"email": "nobody@example.com", "password": "wrong"}
        assert [client.post(LOGIN, json=wrong).status_code for _ in range(6)] == [401] * 5 + [429]

    def test_many_networks_together_are_stopped_too(self, limited, user):
        client = limited(rate_limit_accounts="1000/minute")
        wrong = {"email": user.email, "password": "wrong"}
        statuses = [
            client.post(LOGIN, json=wrong, environ_base={"REMOTE_ADDR": f"192.0.2.{n % 25}"}).status_code
            for n in range(51)
        ]
        assert statuses == [401] * 50 + [429]

    def test_addresses_do_not_lie_about_in_redis(self, limited, user, redis):
        client = limited()
        client.post(LOGIN, json={"email": user.email, "password": "wrong"})
        keys = b" ".join(redis.keys("*"))
        assert b"log-ins" in keys
        assert user.email.encode() not in keys

    def test_right_passwords_do_not_count(self, limited, user):
        client = limited(rate_limit_accounts="1000/minute")
        for _ in range(7):
            assert client.post(LOGIN, json={"email": user.email, "password": PASSWORD}).status_code == 200

    def test_holds_without_redis(self, limited, user):
        client = limited(rate_limit_accounts="1000/minute", redis_url="redis://127.0.0.1:9/0")
        wrong = {"email": user.email, "password": "wrong"}
        assert [client.post(LOGIN, json=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
