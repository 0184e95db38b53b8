import json

import pytest
from sendgrid import EventWebhook

from adapters.sendgrid_mailer import SendGridMailer
from domain.errors import ForgedEventError
from tests.fixtures.sendgrid import NOW, adapter
from tools.stack.sendgrid.webhooks import SigningKey

EVENTS = [{"event": "delivered", "sg_event_id": "e1", "email": "ada@example.com", "notification_id": "n1"}]


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return SigningKey(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.fixture
def mailer(key):
    return adapter("http://127.0.0.1:9", key)


def signed(key, payload, at=NOW):
    timestamp = str(int(at))
    return payload, key.sign(timestamp, payload), timestamp


def test_signed_events_are_read(mailer, key):
    payload = json.dumps(EVENTS).encode()
    (event,) = mailer.read_events(*signed(key, payload))
    assert (event.id, event.type) == ("e1", "delivered")
    assert event.payload["notification_id"] == "n1"


def test_the_signature_is_the_one_that_the_sdk_accepts(key):
    payload, signature, timestamp = signed(key, json.dumps(EVENTS).encode())
    assert EventWebhook(key.public_key).verify_signature(payload.decode(), signature, timestamp)


def test_an_event_without_an_id_is_known_by_its_content(mailer, key):
    lines = [{"event": "delivered", "n": 1}, {"event": "delivered", "n": 2}, {"event": "delivered", "n": 1}]
    events = mailer.read_events(*signed(key, json.dumps(lines).encode()))
    assert [event.id for event in events] == [events[0].id, events[1].id, events[0].id]
    assert events[0].id != events[1].id


def test_bytes_that_are_no_text_are_verified_as_they_are(mailer, key):
    with pytest.raises(ForgedEventError, match="not JSON"):
        mailer.read_events(*signed(key, b"\xff\xfe"))


@pytest.mark.parametrize("payload", [b"{}", b"[1]", b"", b"null"])
def test_what_is_no_list_of_events_is_refused(mailer, key, payload):
    with pytest.raises(ForgedEventError):
        mailer.read_events(*signed(key, payload))


def test_a_changed_body_is_forged(mailer, key):
    payload, signature, timestamp = signed(key, json.dumps(EVENTS).encode())
    with pytest.raises(ForgedEventError, match="wrong"):
        mailer.read_events(payload.replace(b"delivered", b"bounce"), signature, timestamp)


def test_a_changed_time_is_forged(mailer, key):
    payload, signature, timestamp = signed(key, json.dumps(EVENTS).encode())
    with pytest.raises(ForgedEventError, match="wrong"):
        mailer.read_events(payload, signature, str(int(timestamp) + 1))


@pytest.mark.parametrize("signature", ["", "!", "AAA", "not base64", "é", "AAAA", "=" * 8])
def test_a_malformed_signature_is_forged(mailer, signature):
    with pytest.raises(ForgedEventError):
        mailer.read_events(b"[]", signature, str(int(NOW)))


@pytest.mark.parametrize("timestamp", ["", "soon", "1e9", "-1"])
def test_a_malformed_time_is_forged(mailer, key, timestamp):
    with pytest.raises(ForgedEventError):
        mailer.read_events(b"[]", key.sign(timestamp, b"[]"), timestamp)


@pytest.mark.parametrize("age", [-601, 601, 86_400])
def test_a_stale_webhook_is_refused(mailer, key, age):
    with pytest.raises(ForgedEventError, match="stale"):
        mailer.read_events(*signed(key, b"[]", at=NOW - age))


@pytest.mark.parametrize("age", [-600, 0, 600])
def test_a_late_webhook_is_accepted_within_the_tolerance(mailer, key, age):
    assert mailer.read_events(*signed(key, b"[]", at=NOW - age)) == []


def test_another_key_signs_nothing_for_us(mailer, tmp_path):
    with pytest.raises(ForgedEventError):
        mailer.read_events(*signed(SigningKey(tmp_path / "other.pem"), b"[]"))


@pytest.mark.parametrize("public_key", ["", "AAAA", "no base64"])
def test_a_public_key_that_is_none_stops_the_start(public_key):
    with pytest.raises(ValueError, match="webhook key"):
        SendGridMailer("k", public_key=public_key, calendars=None, sender="a@example.com", sender_name="A")
