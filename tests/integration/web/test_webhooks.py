import json
import time

import pytest
from sqlalchemy import func, select

from adapters.sendgrid_mailer import SendGridMailer
from domain.messages import ReceiveMailEvent, ReceivePaymentEvent
from domain.models import WebhookEvent
from tests.factories import UserFactory
from tools.stack.sendgrid.webhooks import SigningKey
from tools.stack.stripe.webhooks import signature
from web.webhooks import BODY_LIMIT

STRIPE, SENDGRID = "/webhooks/stripe", "/webhooks/sendgrid"
PAID = {
    "id": "evt_1",
    "object": "event",
    "type": "payment_intent.succeeded",
    "data": {"object": {"id": "pi_1", "client_secret": "pi_1_secret_2", "metadata": {"note": "a\x00b"}}},
}
DELIVERED = {"event": "delivered", "sg_event_id": "e1", "email": "ada@example.com", "timestamp": 1_780_000_000}


@pytest.fixture
def post_stripe(client, settings):
    """Return a function that posts what Stripe would have signed."""

    def post(event, *, secret=None, at=None, body=None, **options):
        payload = body or json.dumps(event).encode()
        secret = secret or settings.stripe_webhook_secret.get_secret_value()
        headers = {"Stripe-Signature": signature(secret, payload, int(time.time()) if at is None else at)}
        return client.post(STRIPE, data=payload, content_type="application/json", headers=headers, **options)

    return post


@pytest.fixture
def key(tmp_path):
    return SigningKey(tmp_path / "key.pem")


@pytest.fixture
def post_sendgrid(client, services, key):
    """Return a function that posts what SendGrid would have signed."""
    services.__dict__["mailer"] = SendGridMailer(
        "SG.x", public_key=key.public_key, calendars=None, sender="a@example.com", sender_name="A"
    )

    def post(events, *, signer=key, at=None, body=None):
        payload = body or json.dumps(events).encode()
        timestamp = str(int(time.time()) if at is None else at)
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": signer.sign(timestamp, payload),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }
        return client.post(SENDGRID, data=payload, content_type="application/json", headers=headers)

    return post


def inbox(sessions):
    with sessions() as session:
        return session.scalars(select(WebhookEvent).order_by(WebhookEvent.id)).all()


def assert_forged(answer, sessions, announced):
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "webhook-forged"
    assert inbox(sessions) == []
    assert announced == []


class TestStripe:
    def test_keeps_a_signed_event_and_rings_for_it(self, post_stripe, sessions, announced):
        answer = post_stripe(PAID)
        assert (answer.status_code, answer.json) == (200, {"received": 1, "stored": 1})
        (event,) = inbox(sessions)
        assert (event.provider, event.provider_event_id, event.type) == ("stripe", "evt_1", PAID["type"])
        assert event.processed_at is None
        assert event.payload["data"]["object"]["id"] == "pi_1"
        assert announced == [ReceivePaymentEvent(event.id)]

    def test_keeps_it_once_however_often_it_comes(self, post_stripe, sessions, announced):
        for _ in range(46):
            answer = post_stripe(PAID)
        assert (answer.status_code, answer.json) == (200, {"received": 1, "stored": 0})
        assert len(inbox(sessions)) == 1
        assert len(announced) == 1

    def test_keeps_no_client_secret_and_nothing_that_the_database_cannot_hold(self, post_stripe, sessions):
        post_stripe(PAID)
        stored = inbox(sessions)[0].payload["data"]["object"]
        assert "client_secret" not in stored
        assert stored["metadata"] == {"note": "ab"}

    @pytest.mark.parametrize("levels", [64, 300, 800])
    def test_keeps_of_an_absurdly_nested_event_what_is_not_too_deep(self, post_stripe, sessions, levels):
        nested = json.loads("[" * levels + "]" * levels)
        assert post_stripe(PAID | {"padding": nested}).json == {"received": 1, "stored": 1}
        assert inbox(sessions)[0].payload["data"]["object"]["id"] == "pi_1"

    def test_refuses_another_secret(self, post_stripe, sessions, announced):
        assert_forged(post_stripe(PAID, secret="whsec_other"), sessions, announced)

    @pytest.mark.parametrize("age", [301, 3600])
    def test_refuses_what_was_signed_too_long_ago(self, post_stripe, sessions, announced, age):
        answer = post_stripe(PAID, at=int(time.time()) - age)
        assert_forged(answer, sessions, announced)

    def test_refuses_a_body_that_was_changed_by_one_byte(self, client, settings, sessions, announced):
        payload = json.dumps(PAID).encode()
        header = signature(settings.stripe_webhook_secret.get_secret_value(), payload, int(time.time()))
        answer = client.post(STRIPE, data=payload + b" ", headers={"Stripe-Signature": header})
        assert_forged(answer, sessions, announced)

    @pytest.mark.parametrize("header", [None, "", "t=1", "v1=00", "t=x,v1=y", "t=1,v1=\u00e9", "," * 1000])
    def test_refuses_a_header_that_is_missing_or_malformed(self, client, sessions, announced, header):
        headers = {} if header is None else {"Stripe-Signature": header}
        answer = client.post(STRIPE, data=json.dumps(PAID), headers=headers)
        assert_forged(answer, sessions, announced)

    @pytest.mark.parametrize("body", [b"not JSON", b"[]", b'{"object": "charge"}', b"\xff\xfe"])
    def test_refuses_what_is_signed_but_no_event(self, post_stripe, sessions, announced, body):
        assert_forged(post_stripe(None, body=body), sessions, announced)

    def test_needs_no_token_and_minds_none(self, post_stripe, log_in, sessions, settings):
        with sessions.begin() as session:
            user = UserFactory(session=session)
        payload = json.dumps(PAID).encode()
        header = signature(settings.stripe_webhook_secret.get_secret_value(), payload, int(time.time()))
        assert log_in(user).post(STRIPE, data=payload, headers={"Stripe-Signature": header}).status_code == 200

    def test_takes_more_than_clients_may_send_but_not_everything(self, post_stripe, settings):
        large = PAID | {"padding": "x" * (4 * settings.max_body_bytes)}
        assert post_stripe(large).status_code == 200
        answer = post_stripe(None, body=b"x" * (BODY_LIMIT + 1))
        assert (answer.status_code, answer.json["code"]) == (413, "body-too-large")

    def test_can_only_be_posted_to(self, client):
        answer = client.get(STRIPE)
        assert (answer.status_code, answer.json["code"]) == (405, "method-not-allowed")


class TestSendGrid:
    def test_keeps_each_event_of_a_batch_and_rings_for_it(self, post_sendgrid, sessions, announced):
        opened = DELIVERED | {"event": "open", "sg_event_id": "e2"}
        answer = post_sendgrid([opened, DELIVERED])
        assert (answer.status_code, answer.json) == (200, {"received": 2, "stored": 2})
        stored = {event.provider_event_id: event for event in inbox(sessions)}
        assert {name: event.type for name, event in stored.items()} == {"e1": "delivered", "e2": "open"}
        assert set(announced) == {ReceiveMailEvent(event.id) for event in stored.values()}

    def test_keeps_an_event_once_within_a_batch_and_over_batches(self, post_sendgrid, sessions, announced):
        assert post_sendgrid([DELIVERED, DELIVERED]).json == {"received": 2, "stored": 1}
        assert post_sendgrid([DELIVERED, DELIVERED | {"sg_event_id": "e2"}]).json == {"received": 2, "stored": 1}
        assert len(inbox(sessions)) == len(announced) == 2

    def test_takes_a_batch_of_a_megabyte(self, post_sendgrid, sessions):
        batch = [DELIVERED | {"sg_event_id": f"e{n}", "useragent": "x" * 900} for n in range(1_000)]
        assert len(json.dumps(batch)) > 1_000_000
        assert post_sendgrid(batch).json == {"received": 1_000, "stored": 1_000}
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(WebhookEvent)) == 1_000

    def test_an_empty_batch_is_nothing(self, post_sendgrid, sessions):
        assert post_sendgrid([]).json == {"received": 0, "stored": 0}
        assert inbox(sessions) == []

    def test_an_event_without_an_id_is_still_recognised_when_it_comes_again(self, post_sendgrid, sessions):
        nameless = {name: value for name, value in DELIVERED.items() if name != "sg_event_id"}
        post_sendgrid([nameless])
        post_sendgrid([nameless])
        assert len(inbox(sessions)) == 1

    @pytest.mark.parametrize(
        ("reason", "kept"),
        [
            ('"\\ud83d"', "?"),
            ('"a\\u0000b"', "ab"),
            ('"\\ud83d\\ude00"', "\U0001f600"),
            ("1e999", None),
            ("[-1e999]", [None]),
        ],
    )
    def test_keeps_a_batch_of_which_one_event_holds_what_the_database_cannot(
        self, post_sendgrid, sessions, reason, kept
    ):
        odd = json.dumps(DELIVERED | {"sg_event_id": "e2", "event": "bounce"}).replace("}", f', "reason": {reason}}}')
        answer = post_sendgrid(None, body=f"[{json.dumps(DELIVERED)}, {odd}]".encode())
        assert (answer.status_code, answer.json) == (200, {"received": 2, "stored": 2})
        assert [event.payload.get("reason", "") for event in inbox(sessions)] == ["", kept]

    def test_ids_and_kinds_are_cleaned_too(self, post_sendgrid, sessions):
        post_sendgrid(None, body=b'[{"event": "boun\\u0000ce", "sg_event_id": "e\\ud83d1"}]')
        (event,) = inbox(sessions)
        assert (event.provider_event_id, event.type) == ("e?1", "bounce")

    @pytest.mark.parametrize("name", ["sg_event_id", "other"])
    @pytest.mark.parametrize("levels", [62, 300, 800])
    def test_keeps_of_an_absurdly_nested_event_what_is_not_too_deep(self, post_sendgrid, sessions, levels, name):
        nested = "[" * levels + "]" * levels
        answer = post_sendgrid(None, body=f'[{{"event": "open", "{name}": "e1", "padding": {nested}}}]'.encode())
        assert answer.json == {"received": 1, "stored": 1}
        assert inbox(sessions)[0].type == "open"

    def test_refuses_another_key(self, post_sendgrid, tmp_path, sessions, announced):
        other = SigningKey(tmp_path / "other.pem")
        assert_forged(post_sendgrid([DELIVERED], signer=other), sessions, announced)

    def test_refuses_what_was_signed_too_long_ago(self, post_sendgrid, sessions, announced):
        assert_forged(post_sendgrid([DELIVERED], at=int(time.time()) - 3600), sessions, announced)

    @pytest.mark.parametrize("header", ["", "not base64", "AAAA", "\u00e9"])
    def test_refuses_a_signature_that_is_missing_or_malformed(self, client, post_sendgrid, sessions, announced, header):
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": header,
            "X-Twilio-Email-Event-Webhook-Timestamp": str(int(time.time())),
        }
        answer = client.post(SENDGRID, data=json.dumps([DELIVERED]), headers=headers)
        assert_forged(answer, sessions, announced)

    @pytest.mark.parametrize("body", [b"not JSON", b"{}", b"[1]", b'[{"a": NaN}]', b"[" * 100_000 + b"]" * 100_000])
    def test_refuses_what_is_signed_but_no_batch(self, post_sendgrid, sessions, announced, body):
        assert_forged(post_sendgrid(None, body=body), sessions, announced)
