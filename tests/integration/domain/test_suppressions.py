from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from domain.accounts import request_password_reset, reset_password
from domain.audit import Actor
from domain.correspondence import Links
from domain.deliveries import receive_event
from domain.messages import SendMail
from domain.models import EmailNotification, MailSuppression
from domain.models.notifications import ERASED_ADDRESS
from domain.notifications import send_mail
from domain.one_time_tokens import TokenKeyring
from domain.rules.states import MailingKind, MailStatus, OrderStage, SuppressionReason
from tests.factories import EmailNotificationFactory, MailingFactory, OrderFactory, WebhookEventFactory, bound_to
from tests.fakes.mailer import FakeMailer
from tests.fakes.password_hasher import FakePasswordHasher

NOW = datetime.now(UTC)
KEYRING = TokenKeyring({"k1": b"1" * 32})
LINKS = Links("https://tickets.example", KEYRING)


@pytest.fixture
def order(sessions):
    with sessions.begin() as session:
        return OrderFactory(session=session, stage=OrderStage.COMPLETE)


@pytest.fixture
def write(sessions, order):
    """Write a mail about the order, or the event, to its buyer, in one's own way of writing the address."""

    def write(template, **values):
        with sessions.begin() as session, bound_to(session):
            if template in {kind.value for kind in MailingKind}:
                mailing = MailingFactory(event_id=order.event_id, kind=template)
                values |= {"mailing_id": mailing.id, "event_id": order.event_id}
            else:
                values["order_id"] = order.id
            values = {"recipient": order.user.email.capitalize(), **values}
            return EmailNotificationFactory(template=template, user_id=order.user_id, **values)

    return write


@pytest.fixture
def report(sessions, write):
    """Let SendGrid report about a mail that was sent."""

    def report(kind, **payload):
        mail = write("order_refunded", status=MailStatus.SENT)
        with sessions.begin() as session:
            payload |= {"notification_id": str(mail.id)}
            event = WebhookEventFactory(session=session, provider="sendgrid", type=kind, payload=payload)
        receive_event(sessions, event.id, NOW)

    return report


@pytest.fixture
def fate(sessions, write):
    """Tell how a mail of a template ends."""

    def fate(template, **values):
        mail, mailer = write(template, **values), FakeMailer()
        send_mail(sessions, mailer, mail.id, NOW, LINKS)
        with sessions() as session:
            status = session.get_one(EmailNotification, mail.id).status
        assert len(mailer.sent) == (status is MailStatus.SENT)
        return status

    return fate


def reasons(sessions):
    with sessions() as session:
        return session.scalars(select(MailSuppression.reason)).all()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("bounce", {"type": "bounce", "reason": "550 5.1.1 no such user"}),
        ("dropped", {"reason": "Bounced Address"}),
        ("dropped", {"reason": "Invalid"}),
    ],
)
def test_after_a_hard_bounce_no_mail_goes_to_the_address(report, fate, kind, payload):
    report(kind, **payload)
    assert fate("order_refunded") is MailStatus.SUPPRESSED
    assert fate("event_changed") is MailStatus.SUPPRESSED


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("bounce", {"type": "blocked", "reason": "550 5.7.1 refused"}),
        ("dropped", {"reason": "Spam Content"}),
        ("deferred", {"reason": "451 later"}),
    ],
)
def test_what_may_pass_or_is_about_our_mail_stops_nothing(sessions, report, fate, kind, payload):
    report(kind, **payload)
    assert reasons(sessions) == []
    assert fate("announcement") is MailStatus.SENT


def test_a_complaint_stops_what_nobody_asked_for_and_no_mail_about_an_order(report, fate):
    report("spamreport")
    assert fate("announcement") is MailStatus.SUPPRESSED
    assert fate("reminder") is MailStatus.SUPPRESSED
    assert fate("transfer_offered") is MailStatus.SUPPRESSED
    assert fate("event_changed") is MailStatus.SENT
    assert fate("order_refunded") is MailStatus.SENT


def test_a_bounce_outweighs_a_complaint_whichever_comes_first(sessions, report):
    report("spamreport")
    report("bounce", type="bounce")
    report("spamreport")
    assert reasons(sessions) == [SuppressionReason.BOUNCED]


def test_nothing_goes_to_whom_nobody_remembers(fate):
    assert fate("event_changed", recipient=ERASED_ADDRESS) is MailStatus.SUPPRESSED


def test_a_new_password_is_mailed_all_the_same_and_proves_the_address(sessions, report, order, announced, fate):
    report("bounce", type="bounce")
    mailer, hasher = FakeMailer(), FakePasswordHasher()
    with sessions.begin() as session:
        request_password_reset(session, order.user.email, Actor(), keyring=KEYRING, now=NOW)
    (ring,) = [message for message in announced if isinstance(message, SendMail)]
    send_mail(sessions, mailer, ring.notification_id, NOW, LINKS)
    token = mailer.sent[0].letter.context["link"].partition("token=")[2]
    reset_password(sessions, hasher, token, "a new horse battery staple", Actor(), now=NOW)
    assert reasons(sessions) == []
    assert fate("order_refunded") is MailStatus.SENT
