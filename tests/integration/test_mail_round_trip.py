import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from werkzeug.serving import WSGIRequestHandler, make_server

from adapters.calendar_writer import CalendarWriter
from adapters.sendgrid_mailer import SendGridMailer
from domain.correspondence import Links
from domain.deliveries import receive_event
from domain.messages import ReceiveMailEvent, SendMail
from domain.models import EmailNotification, TimelineEntry
from domain.notifications import send_mail, stalled
from domain.one_time_tokens import TokenKeyring
from domain.rules.states import MailStatus, OrderStage
from tests.factories import EmailNotificationFactory, OrderFactory, UserFactory, bound_to
from tools.stack.sendgrid.server import Options, SendGridStandIn

LINKS = Links("https://tickets.example", TokenKeyring({"k1": b"1" * 32}))
NOW = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)


class QuietHandler(WSGIRequestHandler):
    def log(self, *_arguments):
        pass


@pytest.fixture
def shop(app):
    """Return the address of the app behind a real socket."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def standin(shop, tmp_path):
    options = Options(data=tmp_path, signing_key=tmp_path / "key.pem", webhook_url=f"{shop}/webhooks/sendgrid")
    with SendGridStandIn(options) as standin:
        yield standin


@pytest.fixture
def mailer(standin, services):
    mailer = SendGridMailer(
        "SG.key",
        public_key=standin.key.public_key,
        calendars=CalendarWriter("https://tickets.example"),
        sender="t@example.com",
        sender_name="T",
        host=standin.url,
    )
    services.__dict__["mailer"] = mailer
    return mailer


def confirm(sessions, email):
    with sessions.begin() as session, bound_to(session):
        order = OrderFactory(stage=OrderStage.COMPLETE, user=UserFactory(email=email), quantity=2)
        mail = EmailNotificationFactory(template="order_confirmed", order_id=order.id, recipient=email)
    return order, mail


def handle_events(sessions, announced, mail, *, until):
    """Handle what the webhook endpoint rings for, as the worker does, until the mail has come so far."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        while announced:
            message = announced.pop(0)
            assert isinstance(message, ReceiveMailEvent)
            receive_event(sessions, message.event_id, NOW)
        with sessions() as session:
            found = session.get_one(EmailNotification, mail.id)
        if found.status is until:
            return found
        time.sleep(0.02)
    pytest.fail(f"the mail is still {found.status}")


@pytest.mark.parametrize(
    ("email", "fate"), [("ada@example.com", MailStatus.DELIVERED), ("bounce@example.com", MailStatus.BOUNCED)]
)
def test_a_mail_goes_out_and_its_fate_comes_back(sessions, announced, standin, mailer, email, fate):
    order, mail = confirm(sessions, email)
    send_mail(sessions, mailer, mail.id, NOW, LINKS)
    found = handle_events(sessions, announced, mail, until=fate)
    assert found.sent_at == NOW
    (message,) = standin.mailbox.newest()
    assert [file["filename"] for file in message.mail["attachments"]] == ["ticket-1.png", "ticket-2.png", "event.ics"]
    with sessions() as session:
        kinds = session.scalars(select(TimelineEntry.kind).where(TimelineEntry.order_id == order.id)).all()
    assert kinds == ["mail_sent", "mail_delivered"][: 2 if fate is MailStatus.DELIVERED else 1]


def test_a_mail_whose_answer_was_lost_is_settled_by_its_event_and_not_sent_twice(
    sessions, announced, standin, mailer, shop
):
    impatient = SendGridMailer(
        "SG.key",
        public_key=standin.key.public_key,
        calendars=CalendarWriter("https://tickets.example"),
        sender="t@example.com",
        sender_name="T",
        host=standin.url,
        timeout=0.2,
    )
    _, mail = confirm(sessions, "ada@example.com")
    standin.faults.change({"latency": 1.0})
    send_mail(sessions, impatient, mail.id, NOW, LINKS)
    with sessions() as session:
        assert session.get_one(EmailNotification, mail.id).status is MailStatus.UNKNOWN
    found = handle_events(sessions, announced, mail, until=MailStatus.DELIVERED)
    assert found.next_attempt_at is None
    with sessions() as session:
        assert SendMail(mail.id) not in stalled(session, datetime.now(UTC))
    assert len(standin.mailbox.newest()) == 1
