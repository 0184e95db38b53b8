from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.correspondence import Links
from domain.deliveries import receive_event
from domain.errors import UnknownOutcomeError
from domain.models import EmailNotification, TimelineEntry, WebhookEvent
from domain.notifications import send_mail
from domain.one_time_tokens import TokenKeyring
from domain.rules.states import MailStatus, OrderStage
from tests.factories import EmailNotificationFactory, OrderFactory, WebhookEventFactory, bound_to
from tests.fakes.mailer import FakeMailer

LINKS = Links("https://tickets.example", TokenKeyring({"k1": b"1" * 32}))
RESET = {"first_name": "Ada", "link": "https://tickets.example/reset?token=1", "expires_minutes": 30}
SENT_AT = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)


@pytest.fixture
def order(sessions):
    with sessions.begin() as session:
        return OrderFactory(session=session, stage=OrderStage.COMPLETE)


@pytest.fixture
def mail(sessions, order):
    """Return the sent confirmation of an order."""
    with sessions.begin() as session:
        return EmailNotificationFactory(
            session=session,
            template="order_confirmed",
            order_id=order.id,
            status=MailStatus.SENT,
            sent_at=SENT_AT,
            provider_message_id="msg-1",
            attempts=1,
        )


@pytest.fixture
def report(sessions):
    """Return a function that puts an event into the inbox and handles it."""

    def report(kind, at=SENT_AT, **payload):
        with sessions.begin() as session:
            event = WebhookEventFactory(
                session=session,
                provider="sendgrid",
                type=kind,
                payload={"event": kind, "timestamp": int(at.timestamp()), **payload},
            )
        receive_event(sessions, event.id, SENT_AT)
        with sessions() as session:
            return session.get_one(WebhookEvent, event.id)

    return report


def reread(sessions, mail):
    with sessions() as session:
        return session.get_one(EmailNotification, mail.id)


def timeline(sessions, order):
    with sessions() as session:
        entries = select(TimelineEntry.kind).where(TimelineEntry.order_id == order.id).order_by(TimelineEntry.id)
        return session.scalars(entries).all()


def own(mail):
    return {"notification_id": str(mail.id)}


def test_a_delivery_is_noted_once_with_the_providers_time(sessions, order, mail, report):
    at = SENT_AT + timedelta(seconds=3)
    report("delivered", at, **own(mail))
    report("delivered", at + timedelta(hours=1), **own(mail))
    found = reread(sessions, mail)
    assert (found.status, found.delivered_at, found.sent_at) == (MailStatus.DELIVERED, at, SENT_AT)
    assert timeline(sessions, order) == ["mail_delivered"]


def test_an_event_is_handled_once(sessions, order, mail, report):
    event = report("delivered", **own(mail))
    assert (event.processed_at, event.attempts, event.error) == (SENT_AT, 1, None)
    receive_event(sessions, event.id, SENT_AT + timedelta(hours=1))
    with sessions() as session:
        assert session.get_one(WebhookEvent, event.id).processed_at == SENT_AT


def test_finds_the_mail_by_the_providers_message_where_our_own_reference_is_missing(sessions, mail, report):
    report("delivered", sg_message_id="msg-1.recvd-canary-7f9-0")
    assert reread(sessions, mail).status is MailStatus.DELIVERED


def test_believes_our_own_reference_first(sessions, mail, report):
    event = report("delivered", notification_id=str(uuid7()), sg_message_id="msg-1.recvd")
    assert event.error == "it is about no mail of ours"
    assert reread(sessions, mail).status is MailStatus.SENT


@pytest.mark.parametrize(
    "payload", [{}, {"notification_id": "x", "sg_message_id": 7}, {"sg_message_id": ""}, {"timestamp": 10**30}]
)
def test_an_event_about_no_mail_of_ours_is_done_with(report, payload):
    event = report("delivered", **payload)
    assert event.processed_at == SENT_AT
    assert event.error == "it is about no mail of ours"


@pytest.mark.parametrize("timestamp", ["yesterday", None, 10**18, -(10**18)])
def test_an_event_without_a_time_is_dated_by_its_arrival(sessions, mail, report, timestamp):
    event = report("delivered", **own(mail) | {"timestamp": timestamp})
    assert reread(sessions, mail).delivered_at == event.received_at


def test_an_opened_mail_was_delivered_and_a_clicked_one_opened(sessions, mail, report):
    report("open", SENT_AT + timedelta(minutes=1), **own(mail))
    found = reread(sessions, mail)
    assert found.is_opened
    assert not found.is_clicked
    assert found.status is MailStatus.DELIVERED
    report("click", SENT_AT + timedelta(minutes=2), **own(mail))
    found = reread(sessions, mail)
    assert (found.opened_at, found.clicked_at) == (SENT_AT + timedelta(minutes=1), SENT_AT + timedelta(minutes=2))


@pytest.mark.parametrize("kind", ["bounce", "dropped"])
def test_a_bounced_mail_keeps_the_reason_and_stays_bounced(sessions, mail, report, kind):
    report(kind, reason="550 no such mailbox", **own(mail))
    report("processed", **own(mail))
    report("delivered", **own(mail))
    found = reread(sessions, mail)
    assert found.is_bounced
    assert (found.bounced_at, found.error) == (SENT_AT, "550 no such mailbox")


def test_late_and_reordered_events_never_move_a_mail_back(sessions, mail, report):
    report("delivered", **own(mail))
    for kind in ("processed", "deferred"):
        report(kind, **own(mail))
    assert reread(sessions, mail).status is MailStatus.DELIVERED


@pytest.mark.parametrize("kind", ["unsubscribe", "group_resubscribe", "something new"])
def test_other_events_change_nothing(sessions, mail, report, kind):
    assert report(kind, **own(mail)).error is None
    assert reread(sessions, mail).status is MailStatus.SENT


@pytest.mark.parametrize(("kind", "status"), [("processed", MailStatus.SENT), ("delivered", MailStatus.DELIVERED)])
def test_an_event_ends_the_doubt_about_a_mail_which_is_then_never_sent_again(sessions, order, report, kind, status):
    mailer = FakeMailer()
    with sessions.begin() as session:
        mail = EmailNotificationFactory(session=session, template="password_reset", context=RESET, order_id=order.id)
    mailer.fail_next(UnknownOutcomeError("no answer"))
    send_mail(sessions, mailer, mail.id, SENT_AT, LINKS)
    report(kind, **own(mail))
    send_mail(sessions, mailer, mail.id, SENT_AT + timedelta(days=1), LINKS)
    found = reread(sessions, mail)
    assert (found.status, found.error, found.next_attempt_at) == (status, None, None)
    assert len(mailer.sent) == 1
    assert timeline(sessions, order)[0] == "mail_sent"


def test_an_event_that_is_faster_than_the_answer_is_not_undone_by_it(sessions, order, report):
    with sessions.begin() as session, bound_to(session):
        mail = EmailNotificationFactory(template="password_reset", context=RESET, order_id=order.id)

    class SlowMailer(FakeMailer):
        def send(self, letter):
            report("delivered", **own(mail))
            return super().send(letter)

    send_mail(sessions, SlowMailer(), mail.id, SENT_AT, LINKS)
    found = reread(sessions, mail)
    assert (found.status, found.provider_message_id) == (MailStatus.DELIVERED, "fake-message-1")
    assert timeline(sessions, order) == ["mail_sent", "mail_delivered"]


def test_nor_by_an_answer_that_was_lost(sessions, order, report):
    with sessions.begin() as session:
        mail = EmailNotificationFactory(session=session, template="password_reset", context=RESET)

    class LosingMailer(FakeMailer):
        def send(self, letter):
            report("delivered", **own(mail))
            raise UnknownOutcomeError("no answer")

    send_mail(sessions, LosingMailer(), mail.id, SENT_AT, LINKS)
    assert reread(sessions, mail).status is MailStatus.DELIVERED


def test_an_event_that_is_not_in_the_inbox_is_nothing(sessions):
    receive_event(sessions, uuid7(), SENT_AT)
