import base64
import logging
import socket
import threading
import time
import urllib.request
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import pytest

from adapters.qr_renderer import QRRenderer
from domain.errors import PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from tests.fakes.letters import CONTEXTS, letter, picture
from tests.fakes.mailer import FakeMailer
from tests.fixtures.sendgrid import adapter
from tools.stack.sendgrid.server import Options, SendGridStandIn


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    data = tmp_path_factory.mktemp("sendgrid")
    with SendGridStandIn(Options(data=data, signing_key=data / "key.pem", api_key="SG.right")) as standin:
        yield standin


@pytest.fixture
def key(standin):
    return standin.key


class FakeOffice:
    def __init__(self):
        self.mailer = FakeMailer()

    def refuse_next(self, error):
        self.mailer.fail_next(error)

    def lose_next_answer(self):
        self.mailer.fail_next(UnknownOutcomeError("no answer"))

    def delivered(self):
        return [(sent.letter.recipient, sent.rendered.subject, sent.message_id) for sent in self.mailer.sent]


class HTTPOffice:
    def __init__(self, standin):
        self._standin = standin
        self.mailer = adapter(standin.url, standin.key, timeout=0.4)

    def refuse_next(self, error):
        status = 503 if isinstance(error, RetryableVendorError) else 403
        self._standin.faults.change({"fail_next": 1, "status": status})

    def lose_next_answer(self):
        self._standin.faults.change({"hold_next": 1})

    def delivered(self):
        messages = reversed(self._standin.mailbox.newest())
        return [(message.mail["to"], message.mail["subject"], message.message_id) for message in messages]


@pytest.fixture(params=["fake", "sendgrid"])
def office(request, standin):
    if request.param == "fake":
        yield FakeOffice()
        return
    standin.mailbox.clear()
    yield HTTPOffice(standin)
    standin.faults.clear()


class TestContract:
    def test_a_letter_arrives_and_its_receipt_names_it(self, office):
        receipt = office.mailer.send(letter())
        assert office.delivered() == [("ada@example.com", receipt.subject, receipt.message_id)]
        assert receipt.message_id

    @pytest.mark.parametrize("template", CONTEXTS)
    def test_every_letter_can_be_sent(self, office, template):
        assert office.mailer.send(letter(template)).subject

    def test_a_letter_sent_twice_arrives_twice(self, office):
        receipts = {office.mailer.send(letter()).message_id for _ in range(2)}
        assert len(receipts) == len(office.delivered()) == 2

    def test_an_unknown_template_never_goes_out(self, office):
        with pytest.raises(PermanentVendorError):
            office.mailer.send(type(letter())(uuid4(), "no_such", "a@example.com", "A", {}))
        assert office.delivered() == []

    def test_what_was_refused_for_now_has_not_arrived_and_may_be_repeated(self, office):
        office.refuse_next(RetryableVendorError("later"))
        with pytest.raises(RetryableVendorError) as refusal:
            office.mailer.send(letter())
        assert not isinstance(refusal.value, UnknownOutcomeError)
        assert office.delivered() == []
        office.mailer.send(letter())
        assert len(office.delivered()) == 1

    def test_what_was_refused_for_good_has_not_arrived(self, office):
        office.refuse_next(PermanentVendorError("never"))
        with pytest.raises(PermanentVendorError):
            office.mailer.send(letter())
        assert office.delivered() == []

    def test_a_lost_answer_is_unknown_and_the_letter_has_arrived(self, office):
        office.lose_next_answer()
        with pytest.raises(UnknownOutcomeError):
            office.mailer.send(letter())
        assert len(office.delivered()) == 1


class TestRequest:
    def test_it_carries_the_reference_and_nothing_personal_beside_the_mail(self, standin, key):
        reference = uuid4()
        receipt = adapter(standin.url, key).send(letter(reference=reference))
        mail = standin.mailbox.newest(limit=1)[0].mail
        assert mail["custom_args"] == {"notification_id": str(reference)}
        assert mail["categories"] == ["order_confirmed"]
        assert (mail["from"], mail["from_name"]) == ("tickets@example.com", "Ticket Vendor")
        assert mail["reply_to"] == "help@example.com"
        assert (mail["to_name"], mail["subject"]) == ("Ada Lovelace", receipt.subject)
        assert mail["text"].startswith("Your tickets are here")
        assert mail["html"].startswith("<!doctype html>")

    def test_pictures_are_inline_and_other_files_are_attached(self, standin, key):
        png = QRRenderer().png("TV1.k1.x")
        files = (picture(png), type(picture(b""))("ticket.pdf", "application/pdf", b"%PDF"))
        adapter(standin.url, key).send(letter(attachments=files))
        inline, attached = standin.mailbox.newest(limit=1)[0].mail["attachments"]
        assert base64.b64decode(inline["content"]) == png
        assert (inline["disposition"], inline["content_id"], inline["type"]) == ("inline", "ticket-1", "image/png")
        assert (attached["disposition"], attached["content_id"]) == ("attachment", None)

    @pytest.mark.parametrize("template", CONTEXTS)
    def test_no_link_is_rewritten_by_the_click_counter(self, standin, key, template):
        adapter(standin.url, key).send(letter(template))
        assert standin.mailbox.newest(limit=1)[0].mail["click_tracking"] is False

    def test_our_list_of_bounces_counts_and_sendgrids_list_of_complaints_for_announcements_alone(self, standin, key):
        headers = {
            "List-Unsubscribe": "<https://tickets.example/u>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
        for own in ({}, headers):
            adapter(standin.url, key).send(replace(letter("announcement" if own else "reminder"), headers=own))
            mail = standin.mailbox.newest(limit=1)[0].mail
            assert mail["headers"] == own
            assert mail["mail_settings"] == {
                "bypass_bounce_management": {"enable": True},
                "bypass_spam_management": {"enable": not own},
            }

    @pytest.mark.parametrize(("name", "sent"), [("Doe, Jane; PhD", "Doe Jane PhD"), ("", ""), ("A\nB", "A B")])
    def test_a_name_that_sendgrid_would_refuse_is_tidied(self, standin, key, name, sent):
        whole = letter()
        adapter(standin.url, key).send(
            type(whole)(whole.reference, whole.template, whole.recipient, name, whole.context)
        )
        assert standin.mailbox.newest(limit=1)[0].mail["to_name"] == sent

    def test_no_log_line_carries_a_link(self, standin, key, caplog):
        with caplog.at_level(logging.DEBUG):
            adapter(standin.url, key).send(letter("password_reset"))
        assert "secret-2" not in caplog.text


class TestAnswers:
    @pytest.fixture(autouse=True)
    def _normal_again(self, standin):
        yield
        standin.faults.clear()

    @pytest.mark.parametrize("status", [408, 429, 500, 503, 599])
    def test_sendgrid_is_busy(self, standin, key, status):
        standin.faults.change({"fail_next": 1, "status": status, "retry_after": 7})
        with pytest.raises(RetryableVendorError) as refusal:
            adapter(standin.url, key).send(letter())
        assert not isinstance(refusal.value, UnknownOutcomeError)
        assert (refusal.value.retry_after, refusal.value.code) == (7.0, str(status))

    @pytest.mark.parametrize("status", [502, 504])
    def test_a_gateway_cannot_say_what_happened(self, standin, key, status):
        standin.faults.change({"fail_next": 1, "status": status})
        with pytest.raises(UnknownOutcomeError) as refusal:
            adapter(standin.url, key).send(letter())
        assert refusal.value.retry_after is None

    @pytest.mark.parametrize("status", [400, 403, 404, 413])
    def test_a_refusal_is_for_good(self, standin, key, status):
        standin.faults.change({"fail_next": 1, "status": status})
        with pytest.raises(PermanentVendorError, match=f"{status}: The stand-in was told to fail"):
            adapter(standin.url, key).send(letter())

    def test_a_wrong_key_is_refused(self, standin, key):
        with pytest.raises(PermanentVendorError, match="invalid, expired, or revoked") as refusal:
            adapter(standin.url, key, api_key="SG.wrong").send(letter())
        assert refusal.value.code == "401"

    def test_an_address_that_is_none_is_refused_by_its_field(self, standin, key):
        with pytest.raises(PermanentVendorError, match="valid address"):
            adapter(standin.url, key).send(letter(recipient="nobody"))

    def test_nobody_listens(self, key):
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RetryableVendorError) as refusal:
            adapter(url, key).send(letter())
        assert not isinstance(refusal.value, UnknownOutcomeError)

    def test_an_answer_that_does_not_come_ends_at_the_timeout(self, standin, key):
        standin.faults.change({"hold_next": 1})
        start = time.monotonic()
        with pytest.raises(UnknownOutcomeError):
            adapter(standin.url, key, timeout=0.3).send(letter())
        assert 0.25 < time.monotonic() - start < 5

    @pytest.mark.parametrize(
        "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nx"]
    )
    def test_a_connection_that_breaks_after_sending_leaves_the_outcome_unknown(self, key, answer):
        with scripted_server(answer) as url, pytest.raises(UnknownOutcomeError):
            adapter(url, key).send(letter())

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            (b"Retry-After: 30", 30.0),
            (b"Retry-After: Thu, 28 May 2026 20:27:20 GMT", 40.0),
            (b"Retry-After: Thu, 28 May 2020 20:27:20 GMT", 0.0),
            (b"X-RateLimit-Reset: 1780000012", 12.0),
            (b"Retry-After: soon", None),
            (b"X-Other: 1", None),
        ],
    )
    def test_when_to_come_again_is_understood(self, key, header, seconds):
        answer = b"HTTP/1.1 429 Too Many Requests\r\n" + header + b"\r\nContent-Length: 0\r\n\r\n"
        with scripted_server(answer) as url, pytest.raises(RetryableVendorError) as refusal:
            adapter(url, key).send(letter())
        assert refusal.value.retry_after == seconds
        assert "no explanation" in refusal.value.message


class scripted_server:  # noqa: N801 it reads as a statement
    """Takes one whole request, says its lines, and hangs up."""

    def __init__(self, answer):
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __exit__(self, *_):
        self._thread.join(10)
        self._server.close()

    def _serve(self):
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as lines:
            length = 0
            for line in lines:
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                if line == b"\r\n":
                    break
            lines.read(length)
            connection.sendall(self._answer)


def test_the_sdk_would_wait_for_ever_by_itself(standin, key):
    mailer = adapter(standin.url, key, timeout=3)
    assert type(mailer._client)("k").client.timeout is None
    assert mailer._client.client.mail.send.timeout == 3


def test_the_host_may_end_in_a_slash(standin, key):
    assert adapter(f"{standin.url}/", key).send(letter()).message_id
    with urllib.request.urlopen(f"{standin.url}/healthz", timeout=5) as answer:
        assert answer.status == 200
