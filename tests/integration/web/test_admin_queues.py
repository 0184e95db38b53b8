"""The two queues that an operator looks into: the webhook inbox and the mail outbox."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from domain.messages import ReceiveMailEvent, ReceivePaymentEvent, SendMail
from domain.models import AuditLog, EmailNotification, WebhookEvent
from domain.rules.states import MailStatus, UserRole
from tests.factories import EmailNotificationFactory, OrderFactory, UserFactory, WebhookEventFactory

INBOX = "/api/v1/admin/webhook-inbox"
OUTBOX = "/api/v1/admin/mail-outbox"


@pytest.fixture
def boss(rows):
    boss = UserFactory(role=UserRole.ADMIN)
    rows.commit()
    return boss


@pytest.fixture
def admin(boss, log_in):
    return log_in(boss)


def found(admin, path, **wanted):
    return [item["id"] for item in admin.get(path, query_string=wanted).json["items"]]


def log(sessions):
    with sessions() as session:
        return session.scalars(select(AuditLog)).one()


class TestInbox:
    @pytest.fixture
    def events(self, rows, clock):
        made = {
            "waiting": WebhookEventFactory(provider="sendgrid", type="bounce"),
            "failed": WebhookEventFactory(attempts=15, error="It is about an object that is not ours, or not yet."),
            "processed": WebhookEventFactory(processed_at=clock.now(), attempts=1),
        }
        rows.commit()
        return made

    def test_is_searched_by_provider_status_type_and_time(self, admin, events, clock):
        ids = {name: str(event.id) for name, event in events.items()}
        for status, event_id in ids.items():
            assert found(admin, INBOX, status=status) == [event_id]
        assert found(admin, INBOX, provider="sendgrid") == [ids["waiting"]]
        assert found(admin, INBOX, type="bounce") == [ids["waiting"]]
        assert found(admin, INBOX, since=(clock.now() + timedelta(minutes=1)).isoformat()) == []
        assert found(admin, INBOX, since=(clock.now() - timedelta(minutes=9)).isoformat()) == list(ids.values())[::-1]

    def test_shows_an_event_without_its_secrets(self, rows, admin):
        event = WebhookEventFactory(
            payload={
                "data": {"object": {"id": "pi_1", "client_secret": "pi_1_secret_x"}},
                "next": ["https://hooks.example/3ds?client_secret=src_x&step=1"],
            }
        )
        rows.commit()
        assert admin.get(f"{INBOX}/{event.id}").json["payload"] == {
            "data": {"object": {"id": "pi_1", "client_secret": "(hidden)"}},
            "next": ["https://hooks.example/3ds?client_secret=(hidden)&step=1"],
        }

    @pytest.mark.parametrize(("name", "message"), [("failed", ReceivePaymentEvent), ("waiting", ReceiveMailEvent)])
    def test_has_an_event_handled_again(self, admin, boss, events, sessions, announced, name, message):
        event = events[name]
        answer = admin.post(f"{INBOX}/{event.id}/replay")
        assert (answer.status_code, answer.json["status"], answer.json["attempts"]) == (202, "waiting", 0)
        assert announced == [message(event.id)]
        entry = log(sessions)
        assert (entry.action, entry.actor_id, entry.entity_id) == ("webhook.replay", boss.id, event.id)
        assert entry.old_data["status"] == name
        with sessions() as session:
            assert session.get(WebhookEvent, event.id).error is None


class TestOutbox:
    @pytest.fixture
    def mails(self, rows):
        order = OrderFactory()
        made = [
            EmailNotificationFactory(status=MailStatus.BOUNCED, recipient="Ada@example.com", error="no such mailbox"),
            EmailNotificationFactory(template="order_held", order_id=order.id),
        ]
        rows.commit()
        return made

    def test_is_searched_by_status_template_recipient_and_order(self, admin, mails):
        bounced, held = (str(mail.id) for mail in mails)
        assert found(admin, OUTBOX) == [held, bounced]
        assert found(admin, OUTBOX, status="bounced") == [bounced]
        assert found(admin, OUTBOX, template="order_held") == [held]
        assert found(admin, OUTBOX, recipient="ADA@example.com") == [bounced]
        assert found(admin, OUTBOX, order_id=mails[1].order_id) == [held]

    def test_sends_a_mail_again_that_did_not_arrive(self, admin, boss, mails, sessions, announced):
        answer = admin.post(f"{OUTBOX}/{mails[0].id}/replay")
        assert (answer.status_code, answer.json["status"], answer.json["error"]) == (202, "pending", None)
        assert announced == [SendMail(mails[0].id)]
        entry = log(sessions)
        assert (entry.action, entry.actor_id, entry.old_data["status"]) == ("mail.replay", boss.id, "bounced")
        with sessions() as session:
            mail = session.get(EmailNotification, mails[0].id)
        assert (mail.attempts, mail.bounced_at, mail.sent_at, mail.next_attempt_at) == (0, None, None, None)

    @pytest.mark.parametrize("status", [MailStatus.PENDING, MailStatus.SENDING, MailStatus.SENT, MailStatus.DELIVERED])
    def test_sends_nothing_twice(self, rows, admin, status):
        mail = EmailNotificationFactory(status=status)
        rows.commit()
        answer = admin.post(f"{OUTBOX}/{mail.id}/replay")
        assert (answer.status_code, answer.json["code"]) == (409, "mail-not-replayable")

    def test_knows_nobody_who_was_erased(self, rows, admin):
        mail = EmailNotificationFactory(status=MailStatus.FAILED, recipient="erased@erased.invalid")
        rows.commit()
        assert admin.post(f"{OUTBOX}/{mail.id}/replay").json["code"] == "mail-not-replayable"


@pytest.mark.parametrize("path", [INBOX, OUTBOX])
def test_unknown_rows_are_404_and_arguments_are_checked(admin, boss, path):
    assert [admin.get(f"{path}/{boss.id}").status_code, admin.post(f"{path}/{boss.id}/replay").status_code] == [404] * 2
    assert admin.get(f"{path}?status=lost").json["errors"][0]["pointer"] == "/status"
