import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from adapters.hook_sender import HookSender
from domain import catalog, hooks, outgoing, sweep
from domain.audit import Actor
from domain.errors import RetryableVendorError
from domain.hook_secrets import SecretKeyring, written
from domain.messages import DeliverWebhook
from domain.models import AuditLog, EmailNotification, WebhookDelivery, WebhookEndpoint
from domain.outgoing import FAILING_LIMIT, KEPT, LONGEST_PAUSE, WAITS
from domain.payments.outcomes import settle_free
from domain.rules.states import DeliveryStatus, DisabledReason, OrderReason, OrderStage, UserRole, WebhookType
from domain.transitions import close, lock_order
from tests.factories import (
    EventFactory,
    OrderFactory,
    PromoterFactory,
    TicketTierFactory,
    WebhookDeliveryFactory,
    WebhookEndpointFactory,
    bound_to,
)
from tests.fakes.hook_sender import FakeHookSender

KEYRING = SecretKeyring({"local": b"1" * 32})
SILENT = RetryableVendorError("There was no answer in time.", code="no-answer")
ADMIN = Actor(role=UserRole.ADMIN)


class Post:
    """The worker of the queue, with a sender in memory and a clock that can be moved."""

    def __init__(self, sessions):
        self.sessions, self.sender = sessions, FakeHookSender()
        self.now = datetime.now(UTC) + timedelta(seconds=1)

    def deliver(self, delivery_id, sender=None, keyring=KEYRING):
        outgoing.deliver(self.sessions, sender or self.sender, keyring, delivery_id, self.now)
        return self.read(WebhookDelivery, delivery_id)

    def read(self, model, row_id):
        with self.sessions() as session:
            return session.get_one(model, row_id)

    def mails(self):
        with self.sessions() as session:
            return session.scalars(select(EmailNotification)).all()


@pytest.fixture
def post(sessions):
    return Post(sessions)


@pytest.fixture
def endpoint(sessions):
    with sessions.begin() as session:
        return WebhookEndpointFactory(session=session)


@pytest.fixture
def put(sessions, endpoint):
    def put():
        with sessions.begin() as session:
            return WebhookDeliveryFactory(session=session, endpoint_id=endpoint.id, data={"n": 1}).id

    return put


def verify(secret, headers, body):
    """Check a message as receivers do, by the letter of the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}".encode()
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


class TestTelling:
    def told(self, session):
        return [(row.type, row.data) for row in session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id))]

    def test_what_happens_to_an_order_is_written_where_it_happens(self, session, announced):
        with bound_to(session):
            tier = TicketTierFactory(price=0)
            WebhookEndpointFactory(promoter_id=tier.event.promoter_id)
            WebhookEndpointFactory()
            free, lost = (OrderFactory(tier=tier, stage=OrderStage.HELD) for _ in range(2))
        settle_free(session, lock_order(session, free.id), datetime.now(UTC))
        close(session, lock_order(session, lost.id), OrderReason.DECLINED, datetime.now(UTC))
        session.commit()
        of_free = {"event_id": str(tier.event_id), "order_id": str(free.id), "status": "confirmed", "stage": "issuing"}
        of_lost = {"event_id": str(tier.event_id), "order_id": str(lost.id), "status": "cancelled", "stage": "closed"}
        assert self.told(session) == [
            (WebhookType.ORDER_CONFIRMED, of_free | {"reason": None, "payment_status": "completed"}),
            (WebhookType.ORDER_CANCELLED, of_lost | {"reason": "declined", "payment_status": "pending"}),
        ]
        assert len([message for message in announced if isinstance(message, DeliverWebhook)]) == 2

    def test_only_who_wants_to_hear_and_can_is_told(self, session):
        with bound_to(session):
            event = EventFactory()
            own = {"promoter_id": event.promoter_id}
            WebhookEndpointFactory(**own, types=["event.published"])
            WebhookEndpointFactory(**own, disabled_at=datetime.now(UTC), disabled_reason=DisabledReason.PROMOTER)
            WebhookEndpointFactory(**own, deleted_at=datetime.now(UTC))
        catalog.cancel_event(session, ADMIN, event.id, datetime.now(UTC))
        assert self.told(session) == []
        WebhookEndpointFactory(session=session, **own)
        outgoing.tell(session, event.id, WebhookType.TICKET_CHECKED_IN, {"ticket_id": "1"})
        assert self.told(session) == [("ticket.checked_in", {"event_id": str(event.id), "ticket_id": "1"})]

    def test_what_was_undone_is_not_told(self, sessions, announced, endpoint):
        with sessions() as session:
            outgoing.put(session, endpoint.id, WebhookType.WEBHOOK_TEST, {})
            session.rollback()
            assert (self.told(session), announced) == ([], [])


class TestDelivery:
    def test_a_receiver_can_verify_what_arrives(self, post, put, endpoint, receiver, sessions):
        with sessions.begin() as session:
            session.get_one(WebhookEndpoint, endpoint.id).url = receiver.url
        delivery = post.deliver(put(), sender=HookSender(to_loopback=True))
        assert (delivery.status, delivery.attempts, delivery.response_status) == (DeliveryStatus.DELIVERED, 1, 204)
        ((_, headers, body),) = receiver.requests
        assert headers["webhook-id"] == str(delivery.id)
        assert int(headers["webhook-timestamp"]) == int(post.now.timestamp())
        assert verify(written(KEYRING.secret(endpoint.secret_id, "local")), headers, body)
        message = json.loads(body)
        assert message | {"timestamp": ""} == {"type": "webhook.test", "timestamp": "", "data": {"n": 1}}
        assert datetime.fromisoformat(message["timestamp"]) == delivery.created_at

    def test_each_try_is_the_same_message(self, post, put):
        delivery_id, post.sender.answer = put(), 500
        post.deliver(delivery_id)
        post.now += timedelta(hours=1)
        post.deliver(delivery_id)
        first, second = post.sender.posts
        assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
        assert first.headers["webhook-signature"] != second.headers["webhook-signature"]

    def test_a_message_that_comes_twice_is_delivered_once(self, post, put):
        delivery_id = put()
        post.deliver(delivery_id)
        post.deliver(delivery_id)
        outgoing.deliver(post.sessions, post.sender, KEYRING, uuid7(), post.now)
        assert len(post.sender.posts) == 1

    def test_what_a_dead_worker_left_is_tried_again_after_its_lease(self, post, put):
        delivery_id = put()
        with pytest.raises(KeyboardInterrupt):
            post.deliver(delivery_id, sender=Dying())
        assert post.deliver(delivery_id).status is DeliveryStatus.PENDING
        assert post.sender.posts == []
        post.now += outgoing.LEASE
        assert post.deliver(delivery_id).status is DeliveryStatus.DELIVERED

    def test_one_that_kills_whoever_tries_it_is_given_up(self, post, put):
        delivery_id = put()
        for _ in range(10):
            with pytest.raises(KeyboardInterrupt):
                post.deliver(delivery_id, sender=Dying())
            post.now += outgoing.LEASE
        assert post.deliver(delivery_id).status is DeliveryStatus.FAILED
        assert post.sender.posts == []

    def test_ten_tries_in_75_hours_and_then_no_more(self, post, put):
        delivery_id, post.sender.answer = put(), SILENT
        began, waits = post.now, []
        while (delivery := post.deliver(delivery_id)).next_attempt_at is not None:
            waits.append((delivery.next_attempt_at - post.now).total_seconds())
            # An endpoint that fails is left alone a while, too.
            post.now = delivery.next_attempt_at + LONGEST_PAUSE
        assert (delivery.status, delivery.attempts, len(post.sender.posts)) == (DeliveryStatus.FAILED, 10, 10)
        assert delivery.error == "There was no answer in time."
        assert waits == [pytest.approx(wait.total_seconds(), rel=0.1) for wait in WAITS]
        assert timedelta(hours=67) < post.now - began < timedelta(hours=86)

    def test_a_rotated_secret_signs_beside_the_old_one_for_a_day(self, post, put, sessions, endpoint):
        old = written(KEYRING.secret(endpoint.secret_id, "local"))
        with sessions.begin() as session:
            _, new = hooks.rotate_secret(session, ADMIN, endpoint.id, KEYRING, post.now)
        post.deliver(put())
        post.now += timedelta(hours=24)
        post.deliver(put())
        during, after = post.sender.posts
        assert [verify(secret, during.headers, during.body) for secret in (old, new)] == [True, True]
        assert [verify(secret, after.headers, after.body) for secret in (old, new)] == [False, True]


class Dying:
    def send(self, post):
        raise KeyboardInterrupt


class TestEndpointsInTrouble:
    def test_one_that_fails_is_left_alone_and_forgiven_at_its_first_success(self, post, put, endpoint):
        first, second, post.sender.answer = put(), put(), SILENT
        post.deliver(first)
        waiting = post.deliver(second)
        assert (len(post.sender.posts), waiting.attempts, waiting.error) == (1, 0, None)
        assert waiting.next_attempt_at >= post.read(WebhookEndpoint, endpoint.id).paused_until
        post.now, post.sender.answer = post.now + timedelta(minutes=1), 200
        assert post.deliver(second).status is DeliveryStatus.DELIVERED
        now = post.read(WebhookEndpoint, endpoint.id)
        assert (now.failures, now.failing_since, now.paused_until) == (0, None, None)

    def test_410_disables_it_at_once_and_its_promoter_is_told(self, post, put, endpoint):
        first, second, post.sender.answer = put(), put(), 410
        gone = post.deliver(first)
        assert (gone.status, gone.response_status, gone.error) == (DeliveryStatus.FAILED, 410, "It answered 410.")
        assert post.read(WebhookEndpoint, endpoint.id).disabled_reason is DisabledReason.GONE
        (mail,) = post.mails()
        assert (mail.template, mail.context["disabled_reason"]) == ("webhook_disabled", "gone")
        assert post.deliver(second).error == "The endpoint is disabled."
        assert len(post.sender.posts) == 1

    def test_days_without_success_disable_it_once(self, post, put, endpoint):
        post.sender.answer = 500
        post.deliver(put())
        post.now += FAILING_LIMIT - timedelta(seconds=1)
        post.deliver(put())
        assert post.read(WebhookEndpoint, endpoint.id).is_enabled
        post.now += timedelta(hours=1)
        post.deliver(put())
        assert post.read(WebhookEndpoint, endpoint.id).disabled_reason is DisabledReason.FAILING
        post.deliver(put())
        assert len(post.mails()) == 1
        with post.sessions.begin() as session:
            wish = hooks.EndpointWish(is_enabled=True)
            enabled = hooks.change_endpoint(session, ADMIN, endpoint.id, wish, post.now, to_loopback=False)
            assert (enabled.is_enabled, enabled.failures, enabled.failing_since) == (True, 0, None)

    def test_without_its_key_a_secret_is_nothing(self, post, put, endpoint):
        lost = post.deliver(put(), keyring=SecretKeyring({"new": b"2" * 32}))
        assert (lost.status, post.sender.posts) == (DeliveryStatus.FAILED, [])
        assert post.read(WebhookEndpoint, endpoint.id).disabled_reason is DisabledReason.KEY_LOST


class TestSweep:
    def test_what_is_due_is_rung_for_and_what_is_old_deleted(self, session):
        now = datetime.now(UTC)
        with bound_to(session):
            ago = {"next_attempt_at": now - timedelta(minutes=1)}
            due = WebhookDeliveryFactory(**ago)
            WebhookDeliveryFactory(next_attempt_at=now + timedelta(minutes=1))
            ended = {"status": DeliveryStatus.FAILED, "next_attempt_at": None}
            old = WebhookDeliveryFactory(created_at=now - KEPT - timedelta(minutes=1))
            session.flush()
            for name, value in ended.items():
                setattr(old, name, value)
            session.flush()
        assert DeliverWebhook(due.id) in sweep.find_stalled(session, now)
        assert outgoing.stalled(session, now) == [DeliverWebhook(due.id)]
        sweep.tidy(session, now)
        assert session.scalar(select(func.count()).select_from(WebhookDelivery)) == 2

    def test_what_people_do_is_audited_without_paths(self, session):
        with bound_to(session):
            promoter = PromoterFactory()
        actor = Actor(user_id=promoter.user_id, role=UserRole.PROMOTER)
        url = "https://hooks.example.com/secret/path?key=1"
        types = [WebhookType.EVENT_CANCELLED, WebhookType.ORDER_CONFIRMED]
        made, _ = hooks.add_endpoint(session, actor, None, url, types, KEYRING, to_loopback=False)
        hooks.delete_endpoint(session, actor, made.id, datetime.now(UTC))
        entries = session.scalars(select(AuditLog).order_by(AuditLog.id)).all()
        assert [(entry.action, entry.entity_id) for entry in entries] == [
            ("webhook.create", made.id),
            ("webhook.delete", made.id),
        ]
        assert entries[0].new_data == {"url": "hooks.example.com", "types": ["order.confirmed", "event.cancelled"]}
