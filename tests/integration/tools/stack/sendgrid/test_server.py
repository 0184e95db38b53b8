import json
import socket
import threading
import time
import urllib.parse

import pytest

from tests.fixtures.sendgrid import ATTACHMENT, MAIL, PICTURE, call, read, send, wait_until


class TestSending:
    def test_an_accepted_mail_has_an_id_and_no_body(self, standin):
        status, headers, body = send(standin)
        assert (status, body) == (202, b"")
        assert read(standin)[0]["message_id"] == headers["X-Message-Id"]

    def test_the_mailbox_shows_what_was_sent_newest_first(self, standin):
        send(standin, MAIL | {"attachments": [ATTACHMENT]})
        send(standin, MAIL | {"subject": "Second"})
        newest, oldest = read(standin)
        assert newest["subject"] == "Second"
        assert oldest["to"] == "ada@example.com"
        assert oldest["from"] == "tickets@example.com"
        assert oldest["text"] == "Hello, text"
        assert oldest["html"].startswith("<html>")
        assert oldest["custom_args"] == {"notification_id": "n-1"}
        assert oldest["attachments"] == [
            {"filename": "a.png", "type": "image/png", "content_id": "a", "disposition": "inline", "content": PICTURE}
        ]
        assert oldest["at"].endswith("+00:00")

    def test_each_recipient_gets_a_mail(self, standin):
        blocks = [
            {"to": [{"email": "a@example.com"}], "cc": [{"email": "b@example.com"}], "custom_args": {"more": "1"}},
            {"to": [{"email": "c@example.com"}], "subject": "Own"},
        ]
        send(standin, MAIL | {"personalizations": blocks})
        mails = {mail["to"]: mail for mail in read(standin)}
        assert set(mails) == {"a@example.com", "b@example.com", "c@example.com"}
        assert len({mail["message_id"] for mail in mails.values()}) == 1
        assert mails["a@example.com"]["custom_args"] == {"notification_id": "n-1", "more": "1"}
        assert mails["c@example.com"]["subject"] == "Own"

    def test_mail_to_one_address_can_be_asked_for_in_any_case(self, standin):
        send(standin)
        send(standin, MAIL | {"personalizations": [{"to": [{"email": "b@example.com"}]}]})
        assert [mail["to"] for mail in read(standin, "?to=ADA@example.com")] == ["ada@example.com"]
        assert read(standin, "?to=nobody@example.com") == []
        assert len(read(standin, "?limit=1")) == 1

    def test_the_mailbox_can_be_emptied(self, standin):
        send(standin)
        assert call(f"{standin.url}/api/messages", method="DELETE")[0] == 204
        assert read(standin) == []


def personalized(**changes):
    return {"personalizations": [MAIL["personalizations"][0] | changes]}


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "field", "message"),
        [
            ({"personalizations": []}, "personalizations", "at least one personalization"),
            ({"personalizations": ["x"]}, "personalizations.0", "object"),
            (personalized(to=[]), "personalizations.0.to", "to parameter is required"),
            (personalized(to="x"), "personalizations.0.to", "array"),
            (personalized(to=[{"email": "nobody"}]), "personalizations.0.to.0.email", "valid address"),
            (personalized(to=[{"email": "a@x.example", "name": "A, B"}]), "personalizations.0.to.0.name", "; or ,"),
            (personalized(cc=[{"email": "ADA@example.com"}]), "personalizations.0", "unique"),
            (personalized(too=1), "personalizations.0.too", "not allowed"),
            (personalized(custom_args={"a": 1}), "personalizations.0.custom_args.a", "strings"),
            (personalized(to=[{"email": f"a{n}@x.example"} for n in range(1001)]), "personalizations", "1000"),
            ({"from": None}, "from.email", "from object"),
            ({"from": {"email": "x"}}, "from.email", "valid address"),
            ({"reply_to": "x"}, "reply_to.email", "valid address"),
            ({"subject": ""}, "subject", "subject is required"),
            ({"subject": "a\r\nBcc: b"}, "personalizations.0.subject", "one line"),
            ({"content": []}, "content", "at least one defined content block"),
            ({"content": MAIL["content"][::-1]}, "content", "text/plain must be first"),
            ({"content": MAIL["content"][:1] * 2}, "content", "only be provided once"),
            ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value", "at least one character"),
            ({"content": [{"value": "x"}]}, "content.0.type", "MIME"),
            ({"attachments": {}}, "attachments", "array"),
            ({"attachments": ["x"]}, "attachments.0", "object"),
            ({"attachments": [ATTACHMENT | {"content": "no base64!"}]}, "attachments.0.content", "base64"),
            ({"attachments": [ATTACHMENT | {"filename": ""}]}, "attachments.0.filename", "required"),
            ({"attachments": [ATTACHMENT | {"disposition": "x"}]}, "attachments.0.disposition", "inline"),
            ({"attachments": [ATTACHMENT | {"content_id": None}]}, "attachments.0.content_id", "required"),
            ({"custom_args": []}, "custom_args", "object"),
            ({"custom_args": {"a": 1}}, "custom_args.a", "strings"),
            ({"custom_args": {"a": "x" * 10_000}}, "custom_args", "10000 bytes"),
            ({"categories": "x"}, "categories", "array"),
            ({"categories": ["x"] * 2}, "categories", "unique"),
            ({"categories": [str(n) for n in range(11)]}, "categories", "10 categories"),
            ({"categories": ["x" * 256]}, "categories.0", "255"),
            ({"surprise": 1}, "surprise", "not allowed"),
        ],
    )
    def test_what_sendgrid_refuses_is_refused_with_its_field(self, standin, changes, field, message):
        status, _, body = send(standin, MAIL | changes)
        errors = json.loads(body)["errors"]
        assert status == 400
        assert any(error["field"] == field and message in error["message"] for error in errors), errors
        assert all(set(error) == {"message", "field", "help"} for error in errors)
        assert read(standin) == []

    @pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"", b"\xff"])
    def test_what_is_no_request_is_bad(self, standin, body):
        status, _, answer = send(standin, body)
        assert (status, json.loads(answer)["errors"][0]["field"]) == (400, None)

    @pytest.mark.parametrize("key", ["", "SG.wrong", "é"])
    def test_a_wrong_key_is_refused(self, standin, key):
        status, _, body = send(standin, key=urllib.parse.quote(key))
        assert status == 401
        assert set(json.loads(body)["errors"][0]) == {"message", "field", "help"}

    def test_another_media_type_is_refused(self, standin):
        assert send(standin, content_type="text/plain")[0] == 415

    def test_a_mail_over_30_mb_is_too_large(self, standin):
        with socket.create_connection(("127.0.0.1", urllib.parse.urlsplit(standin.url).port), 10) as connection:
            connection.sendall(
                b"POST /v3/mail/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer SG.right\r\n"
                b"Content-Type: application/json\r\nContent-Length: 31457281\r\n\r\n"
            )
            assert connection.recv(100).split()[1] == b"413"

    def test_an_unknown_page_answers_in_the_same_form(self, standin):
        status, _, body = call(f"{standin.url}/v3/nothing")
        assert (status, json.loads(body)["errors"][0]["message"]) == (404, "Not Found")


class TestFaults:
    def control(self, standin, method="POST", **values):
        headers = {"Content-Type": "application/json"}
        body = json.dumps(values).encode() if method == "POST" else None
        status, _, answer = call(f"{standin.url}/_standin/faults", method=method, body=body, headers=headers)
        return status, json.loads(answer)

    def test_the_next_requests_fail_as_told_and_then_no_more(self, standin):
        self.control(standin, fail_next=2, status=429, retry_after=3)
        answers = [send(standin) for _ in range(3)]
        assert [status for status, _, _ in answers] == [429, 429, 202]
        assert answers[0][1]["Retry-After"] == "3"
        assert len(read(standin)) == 1

    def test_latency_slows_every_request(self, standin):
        self.control(standin, latency=0.3)
        start = time.monotonic()
        send(standin)
        assert time.monotonic() - start >= 0.3

    def test_an_answer_is_held_back_until_it_is_let_go(self, standin):
        self.control(standin, hold_next=1)
        answers = []
        sender = threading.Thread(target=lambda: answers.append(send(standin)[0]))
        sender.start()
        wait_until(lambda: len(read(standin)) == 1)
        assert answers == []
        self.control(standin, method="DELETE")
        sender.join(10)
        assert answers == [202]

    def test_the_plan_is_shown_and_cleared(self, standin):
        assert self.control(standin, latency=0.1)[1]["latency"] == 0.1
        assert self.control(standin, method="GET")[1]["latency"] == 0.1
        assert self.control(standin, method="DELETE")[1]["latency"] == 0

    @pytest.mark.parametrize("values", [{"surprise": 1}, {"latency": "1"}, {"fail_next": -1}, {"webhooks_paused": 1}])
    def test_a_plan_that_is_none_is_refused(self, standin, values):
        status, answer = self.control(standin, **values)
        assert status == 400
        assert next(iter(values)) in answer["errors"][0]["message"]
