from io import BytesIO

import pytest
from flask import request
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import sessionmaker
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from domain.errors import BusyError, ConflictError, SoldOutError
from tests.factories import UserFactory
from web.app import create_app
from web.auth import public
from web.problems import MEDIA_TYPE

REGISTER = "/api/v1/auth/register"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def failing(services):
    """Return a client of an app with a route that raises what it is given."""
    app = create_app(services=services)
    failures = {}

    @public
    def fail():
        raise failures["next"]

    @public
    def read():
        return str(len(request.get_data()))

    app.add_url_rule("/fail", view_func=fail)
    app.add_url_rule("/read", view_func=read, methods=["POST"])
    client = app.test_client()

    def fail_with(error):
        failures["next"] = error
        return client.get("/fail")

    client.fail_with = fail_with
    return client


class TestEveryProblem:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nothing", 404, "not-found"),
            ("GET", "/api/v1/nothing", 404, "not-found"),
            ("GET", "/api//v1/auth/me", 404, "not-found"),
            ("DELETE", "/api/v1/auth/me", 405, "method-not-allowed"),
            ("TRACE", "/api/v1/auth/me", 405, "method-not-allowed"),
            ("BREW", "/api/v1/auth/me", 405, "method-not-allowed"),
            ("POST", "/docs", 405, "method-not-allowed"),
            ("GET", "/api/v1/auth/me", 401, "unauthenticated"),
        ],
    )
    def test_has_one_form(self, client, method, path, status, code):
        answer = client.open(path, method=method)
        assert answer.status_code == status
        assert answer.content_type == MEDIA_TYPE
        body = answer.json
        assert body["type"] == f"urn:ticket-vendor:problem:{code}"
        assert {"title", "detail"} < body.keys()
        assert (body["status"], body["code"], body["instance"]) == (status, code, path)
        assert "no-store" in answer.headers["Cache-Control"]

    def test_a_wrong_method_names_the_right_ones(self, client):
        allowed = client.delete("/api/v1/auth/me").headers["Allow"]
        assert set(allowed.split(", ")) == {"GET", "HEAD", "OPTIONS", "PATCH"}

    def test_options_need_no_token(self, client):
        assert client.options("/api/v1/auth/me").status_code == 200


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"",
            b"{'a': 1}",
            b'{"a": NaN}',
            b'{"a": "\\ud800"}',
            b'{"a": \xff}',
            b"\x00",
            b"[" * 5000,
            b'{"a": 1e999}',
        ],
    )
    def test_what_is_not_json_is_400(self, client, body):
        answer = client.post(REGISTER, data=body, headers=JSON)
        assert (answer.status_code, answer.json["code"]) == (400, "malformed-json")

    @pytest.mark.parametrize(
        "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
    )
    def test_another_media_type_is_415(self, client, media_type):
        answer = client.post(REGISTER, data=b"{}", headers={"Content-Type": media_type})
        assert (answer.status_code, answer.json["code"]) == (415, "unsupported-media-type")

    @pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "application/merge-patch+json"])
    def test_json_under_another_name_is_read(self, client, media_type):
        assert client.post(REGISTER, data=b"{}", headers={"Content-Type": media_type}).status_code == 422

    @pytest.mark.parametrize("body", [b"[]", b'"{}"', b"7", b"null", b'"{\\"email\\": \\"a@example.com\\"}"'])
    def test_anything_but_an_object_is_422(self, client, body):
        answer = client.post(REGISTER, data=body, headers=JSON)
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "")

    def test_one_over_the_limit_is_413(self, client, settings):
        answer = client.post(REGISTER, data=b'{"a": "%s"}' % (b"x" * settings.max_body_bytes), headers=JSON)
        assert (answer.status_code, answer.json["code"]) == (413, "body-too-large")

    @pytest.mark.parametrize(("size", "status"), [(10, 422), (100_000, 413)])
    def test_one_in_chunks_is_read_up_to_the_limit(self, client, size, status):
        body = b'{"a": "%s"}' % (b"x" * size)
        chunked = {"wsgi.input": BytesIO(body), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
        answer = client.post(REGISTER, headers=JSON, environ_overrides=chunked)
        assert answer.status_code == status

    def test_a_missing_one_is_400(self, client):
        assert client.post(REGISTER, headers=JSON).json["code"] == "malformed-json"

    def test_each_fault_has_its_pointer(self, client):
        answer = client.post(REGISTER, json={"email": "x", "a/b~c": 1})
        pointers = [error["pointer"] for error in answer.json["errors"]]
        assert sorted(pointers) == ["/a~1b~0c", "/email", "/first_name", "/last_name", "/password"]

    def test_faults_never_repeat_what_was_sent(self, client):
        answer = client.post(REGISTER, json={"email": "x", "password": "hunter2"})
        assert "hunter2" not in answer.get_data(as_text=True)


class TestRefusals:
    def test_busy_says_when_to_come_again(self, failing):
        answer = failing.fail_with(BusyError("Full.", retry_after=7))
        assert answer.status_code == 503
        # Spread by chance, so that not all come again at once.
        assert 7 <= int(answer.headers["Retry-After"]) <= 11

    def test_sold_out_says_where_to_go(self, failing):
        event_id = uuid7()
        answer = failing.fail_with(SoldOutError("Gone.", event_id=event_id, pointer="/items/0"))
        assert (answer.status_code, answer.json["code"]) == (409, "sold-out")
        assert answer.json["links"] == {"waitlist": f"/api/v1/events/{event_id}/waitlist"}
        assert answer.json["errors"] == [{"pointer": "/items/0", "detail": "Gone."}]

    def test_a_conflict_is_409(self, failing):
        assert failing.fail_with(ConflictError("No.")).json["code"] == "conflict"


class TestDefects:
    def test_are_500_without_a_trace_and_logged_with_the_request(self, failing):
        with capture_logs() as logs:
            answer = failing.fail_with(RuntimeError("the secret reason"))
        assert (answer.status_code, answer.content_type) == (500, MEDIA_TYPE)
        assert "secret" not in answer.get_data(as_text=True)
        assert "Traceback" not in answer.get_data(as_text=True)
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["request.failed"]

    def test_of_statements_are_logged_without_any_value(self, failing, sessions):
        user = UserFactory.build(email="hunter2@example.com", password_hash="x")
        twin = UserFactory.build(email="Hunter2@example.com", password_hash="x")
        with sessions() as session:
            session.add_all([user, twin])
            with pytest.raises(IntegrityError) as broken:
                session.flush()
        with capture_logs() as logs:
            assert failing.fail_with(broken.value).status_code == 500
        (line,) = [line for line in logs if line["event"] == "request.failed"]
        assert (line["sqlstate"], line["constraint"]) == ("23505", "uq_users_email_lower")
        assert "exc_info" not in line
        assert "unter2" not in str(line)

    def test_a_lost_database_is_503(self, app, client, services):
        nowhere = sessionmaker(create_engine("postgresql+psycopg://nobody:x@127.0.0.1:9/none"))
        app.extensions["ticket_vendor"] = type(services)(services.settings, nowhere, services.hasher, services.clock)
        answer = client.post("/api/v1/auth/login", json={"email": "a@example.com", "password": "x"})
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"] in {"2", "3"}

    def test_a_statement_that_takes_too_long_is_503(self, failing, sessions):
        with sessions() as session:
            session.execute(text("SET LOCAL statement_timeout = 20"))
            with pytest.raises(OperationalError) as caught:
                session.execute(text("SELECT pg_sleep(5)"))
        answer = failing.fail_with(caught.value)
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"] in {"2", "3"}

    def test_a_pool_without_a_free_connection_is_503(self, failing):
        answer = failing.fail_with(PoolTimeoutError())
        assert (answer.status_code, answer.json["code"]) == (503, "busy")
        assert answer.headers["Retry-After"] in {"2", "3"}


class TestRequestIds:
    def test_a_sane_one_is_kept(self, client):
        assert client.get("/docs", headers={"X-Request-ID": "abc-1.2_3"}).headers["X-Request-ID"] == "abc-1.2_3"

    @pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<b>", "é"])
    def test_another_is_replaced(self, client, given):
        assert client.get("/docs", headers={"X-Request-ID": given}).headers["X-Request-ID"] not in {"", given}

    def test_each_request_is_one_line_with_its_id_and_no_query(self, client):
        with capture_logs() as logs:
            client.get("/verify-email?token=secret-token", headers={"X-Request-ID": "abc"})
        (line,) = [line for line in logs if line["event"] == "request.done"]
        assert (line["method"], line["path"], line["status"]) == ("GET", "/verify-email", 200)
        assert "secret-token" not in str(logs)

    def test_tokens_and_passwords_are_never_logged(self, client, sessions):
        with sessions.begin() as session:
            user = UserFactory(session=session)
        with capture_logs() as logs:
            tokens = client.post("/api/v1/auth/login", json={"email": user.email, "password": "wrong hunter2"})
            client.get("/api/v1/auth/me", headers={"Authorization": "Bearer sesame.open.now"})
        assert tokens.status_code == 401
        assert logs
        assert not any(secret in str(logs) for secret in ("hunter2", "sesame", user.email))


class TestHeaders:
    def test_every_answer_is_guarded(self, client, log_in, sessions):
        with sessions.begin() as session:
            browser = log_in(UserFactory(session=session))
        for answer in (client.get("/docs"), client.get("/nothing"), browser.get("/api/v1/auth/me")):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert browser.get("/api/v1/auth/me").headers["Cache-Control"] == "private, no-store"

    def test_no_other_site_is_let_in(self, client):
        answer = client.get("/openapi.json", headers={"Origin": "https://elsewhere.example"})
        assert not [name for name in dict(answer.headers) if name.startswith("Access-Control")]
