import http.client
import json

from tests.fixtures.stripe_standin import ask
from tools.stack.stripe.server import running


class TestServer:
    def test_a_connection_serves_many_requests(self, standin):
        connection = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=5)
        for _ in range(3):
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            assert json.loads(answer.read()) == {"status": "ok"}
            assert connection.sock is not None
        connection.close()

    def test_what_is_not_there_is_said_in_stripes_form(self, standin):
        for method, path in (("GET", "/v1/customers"), ("DELETE", "/v1/refunds"), ("GET", "/v1/events/")):
            answer, body = ask(standin, method, path)
            assert answer.status == 404
            assert body["error"]["message"].startswith("Unrecognized request URL")

    def test_json_is_refused(self, standin):
        answer, body = ask(standin, "POST", "/v1/refunds", {"a": 1}, {"Content-Type": "application/json"})
        assert answer.status == 400
        assert "x-www-form-urlencoded" in body["error"]["message"]

    def test_a_huge_body_is_refused(self, standin):
        assert ask(standin, "POST", "/v1/refunds", {"a": "x" * 300_000})[0].status == 413

    def test_its_own_secret_key_is_the_only_one(self):
        with running(secret_key="sk_test_mine") as server:
            assert ask(server, "GET", "/v1/events", key="sk_test_mine")[0].status == 200
            assert ask(server, "GET", "/v1/events", key="sk_test_other")[0].status == 401
