import base64
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from uuid_utils.compat import uuid7

from adapters.qr_renderer import QRRenderer
from domain import notifications
from domain.correspondence import Links
from domain.errors import PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.mail_links import offer_path, order_path
from domain.messages import ReceiveMailEvent, SendMail
from domain.models import EmailNotification, Order, Ticket, TimelineEntry
from domain.notifications import ATTEMPTS, DOUBT, LEASE, LONGEST_WAIT, queue_mail, send_mail
from domain.one_time_tokens import TokenKeyring, reference
from domain.rules.lifecycle import status_of
from domain.rules.states import MailStatus, OrderStage, TicketStatus
from tests.factories import (
    EmailNotificationFactory,
    EventFactory,
    OrderFactory,
    TicketTierFactory,
    WaitlistFactory,
    WebhookEventFactory,
    bound_to,
)
from tests.fakes.mailer import FakeMailer

KEYRING = TokenKeyring({"k1": b"1" * 32})
LINKS = Links("https://tickets.example", KEYRING)
RESET = {"first_name": "Ada", "link": "https://tickets.example/reset?token=1", "expires_minutes": 30}
REFUSED = RetryableVendorError("SendGrid answered 503: busy", code="503")
LOST = UnknownOutcomeError("SendGrid did not answer: TimeoutError", code="no-answer")


@pytest.fixture
def now():
    return datetime.now(UTC)


@pytest.fixture
def mailer():
    return FakeMailer()


@pytest.fixture
def mail(sessions):
    """Return a mail that needs nothing but its own row."""
    with sessions.begin() as session:
        return EmailNotificationFactory(session=session, template="password_reset", context=RESET)


@pytest.fixture
def order(sessions):
    """Return a complete order of two tickets, with real pictures."""
    with sessions.begin() as session, bound_to(session):
        event = EventFactory(title="Nordic Noise", venue_name="Harbour Stage", city="Copenhagen", country="DK")
        order = OrderFactory(
            stage=OrderStage.COMPLETE, tier=TicketTierFactory(event=event, name="Standing"), quantity=2
        )
        for ticket in tickets_of(session, order):
            ticket.qr_payload = f"signed:{ticket.code}"
            ticket.qr_image = base64.b64encode(QRRenderer().png(ticket.qr_payload)).decode()
        return order


def tickets_of(session, order):
    return session.scalars(select(Ticket).where(Ticket.order_id == order.id).order_by(Ticket.position)).all()


def queue(sessions, order, template, **values):
    with sessions.begin() as session:
        return queue_mail(
            session,
            template=template,
            purpose=f"{template}:{order.id}",
            recipient="ada@example.com",
            recipient_name="Ada Lovelace",
            user_id=order.user_id,
            order_id=order.id,
            **values,
        )


def send(sessions, mailer, mail, now):
    send_mail(sessions, mailer, mail.id, now, LINKS)
    return reread(sessions, mail)


def reread(sessions, mail):
    with sessions() as session:
        return session.get_one(EmailNotification, mail.id)


def timeline(sessions, order):
    with sessions() as session:
        return session.scalars(
            select(TimelineEntry.kind).where(TimelineEntry.order_id == order.id).order_by(TimelineEntry.id)
        ).all()


def move(sessions, order, stage, **values):
    with sessions.begin() as session:
        session.execute(
            update(Order).where(Order.id == order.id).values(stage=stage, status=status_of(stage), **values)
        )


class TestQueueMail:
    def test_writes_a_row_that_is_due_and_announces_it_after_the_commit(self, sessions, order, announced):
        with sessions.begin() as session:
            mail = queue_mail(
                session,
                template="order_confirmed",
                purpose=f"order_confirmed:{order.id}",
                recipient="ada@example.com",
                recipient_name="Ada Lovelace",
                order_id=order.id,
            )
            assert announced == []
        assert announced == [SendMail(mail.id)]
        assert reread(sessions, mail).is_pending

    def test_writes_one_mail_per_purpose_and_returns_the_first(self, sessions, order, announced):
        first = queue(sessions, order, "order_confirmed")
        again = queue(sessions, order, "order_confirmed", context={"later": True})
        assert again.id == first.id
        assert reread(sessions, first).context == {}
        assert announced == [SendMail(first.id)]

    def test_of_two_that_write_at_the_same_time_both_get_the_same_mail(self, sessions, order):
        found, both = [], threading.Barrier(2)

        def write():
            both.wait(10)
            found.append(queue(sessions, order, "order_cancelled").id)

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(20)
        assert len(found) == 2
        assert len(set(found)) == 1

    def test_is_forgotten_with_the_transaction_that_gave_the_reason(self, sessions, order, announced):
        with sessions() as session:
            queue_mail(
                session, template="order_cancelled", purpose="x", recipient="a@example.com", recipient_name="Ada"
            )
            session.rollback()
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(EmailNotification)) == 0
        assert announced == []


class TestSending:
    def test_sends_a_mail_and_records_what_the_provider_said(self, sessions, mailer, mail, now):
        sent = send(sessions, mailer, mail, now)
        assert sent.status is MailStatus.SENT
        assert (sent.sent_at, sent.attempts, sent.next_attempt_at, sent.error) == (now, 1, None, None)
        assert sent.provider_message_id == "fake-message-1"
        assert sent.subject == "Choose a new password"
        letter = mailer.sent[0].letter
        assert (letter.reference, letter.recipient, letter.recipient_name) == (
            mail.id,
            mail.recipient,
            mail.recipient_name,
        )

    def test_sends_once_however_often_it_is_rung(self, sessions, mailer, mail, now):
        for _ in range(3):
            send(sessions, mailer, mail, now)
        assert len(mailer.sent) == 1

    def test_holds_no_transaction_open_while_the_mailer_is_called(self, sessions, engine, mail, now):
        class Watcher(FakeMailer):
            def send(self, letter):
                self.connections_in_use = engine.pool.checkedout()
                return super().send(letter)

        watcher = Watcher()
        send(sessions, watcher, mail, now)
        assert watcher.connections_in_use == 0
        assert len(watcher.sent) == 1

    def test_two_workers_that_are_rung_together_send_one_mail(self, sessions, mail, now):
        is_sending, may_answer = threading.Event(), threading.Event()

        class SlowMailer(FakeMailer):
            def send(self, letter):
                is_sending.set()
                assert may_answer.wait(10)
                return super().send(letter)

        slow, other = SlowMailer(), FakeMailer()
        first = threading.Thread(target=send_mail, args=(sessions, slow, mail.id, now, LINKS))
        first.start()
        assert is_sending.wait(10)
        send(sessions, other, mail, now)
        may_answer.set()
        first.join(10)
        assert (len(slow.sent), len(other.sent)) == (1, 0)

    def test_an_unknown_mail_is_nothing_to_send(self, sessions, mailer, now):
        send_mail(sessions, mailer, uuid7(), now, LINKS)
        assert mailer.sent == []


class TestFailures:
    def test_a_refusal_for_now_waits_and_tries_again(self, sessions, mailer, mail, now):
        mailer.fail_next(REFUSED)
        waiting = send(sessions, mailer, mail, now)
        assert (waiting.status, waiting.attempts, waiting.error) == (MailStatus.PENDING, 1, REFUSED.message)
        assert now + timedelta(seconds=2.5) <= waiting.next_attempt_at <= now + timedelta(seconds=5)
        assert send(sessions, mailer, mail, waiting.next_attempt_at - timedelta(seconds=1)).attempts == 1
        assert send(sessions, mailer, mail, waiting.next_attempt_at).status is MailStatus.SENT
        assert len(mailer.sent) == 1

    def test_waits_at_least_as_long_as_the_provider_asked_but_not_for_ever(self, sessions, mailer, mail, now):
        mailer.fail_next(RetryableVendorError("429", retry_after=120), RetryableVendorError("429", retry_after=1e9))
        waiting = send(sessions, mailer, mail, now)
        assert waiting.next_attempt_at == now + timedelta(seconds=120)
        later = waiting.next_attempt_at
        assert send(sessions, mailer, mail, later).next_attempt_at == later + LONGEST_WAIT

    def test_gives_up_after_the_last_attempt(self, sessions, mailer, mail, now):
        mailer.fail_next(*[REFUSED] * (ATTEMPTS + 1))
        for _ in range(ATTEMPTS):
            found = send(sessions, mailer, mail, now)
            now = found.next_attempt_at or now
        assert (found.status, found.attempts, found.next_attempt_at) == (MailStatus.FAILED, ATTEMPTS, None)
        assert send(sessions, mailer, mail, now + timedelta(days=1)).attempts == ATTEMPTS

    def test_a_refusal_for_good_fails_at_once_and_says_why(self, sessions, mailer, mail, now):
        mailer.fail_next(PermanentVendorError("SendGrid answered 400: no such recipient", code="400"))
        failed = send(sessions, mailer, mail, now)
        assert (failed.status, failed.error) == (MailStatus.FAILED, "SendGrid answered 400: no such recipient")
        assert failed.is_failed

    def test_a_letter_that_cannot_be_written_fails_instead_of_coming_back_for_ever(self, sessions, mailer, now):
        with sessions.begin() as session:
            mail = EmailNotificationFactory(session=session, template="password_reset", context={"first_name": "Ada"})
        failed = send(sessions, mailer, mail, now)
        assert failed.status is MailStatus.FAILED
        assert "password_reset" in failed.error

    def test_a_link_whose_key_is_gone_is_moot(self, sessions, mailer, now):
        context = {**reference(TokenKeyring({"old": b"0" * 32}), uuid7()), "first_name": "Ada", "expires_minutes": 5}
        with sessions.begin() as session:
            mail = EmailNotificationFactory(session=session, template="password_reset", context=context)
        assert send(sessions, mailer, mail, now).status is MailStatus.FAILED
        assert mailer.sent == []


class TestDoubt:
    def test_a_mail_of_unknown_outcome_waits_for_its_delivery_event(self, sessions, mailer, mail, now):
        mailer.fail_next(LOST)
        unknown = send(sessions, mailer, mail, now)
        assert (unknown.status, unknown.next_attempt_at) == (MailStatus.UNKNOWN, now + DOUBT)
        send(sessions, mailer, mail, now + DOUBT - timedelta(seconds=1))
        assert len(mailer.sent) == 1

    def test_without_one_it_is_sent_once_more(self, sessions, mailer, mail, now):
        mailer.fail_next(LOST)
        send(sessions, mailer, mail, now)
        assert send(sessions, mailer, mail, now + DOUBT).status is MailStatus.SENT
        assert len(mailer.sent) == 2

    def test_and_never_a_third_time(self, sessions, mailer, mail, now):
        mailer.fail_next(LOST, LOST)
        send(sessions, mailer, mail, now)
        failed = send(sessions, mailer, mail, now + DOUBT)
        assert failed.status is MailStatus.FAILED
        assert failed.error == f"unknown twice: {LOST.message}"
        send(sessions, mailer, mail, now + timedelta(days=1))
        assert len(mailer.sent) == 2

    def test_a_retry_that_was_refused_for_now_stays_in_doubt(self, sessions, mailer, mail, now):
        mailer.fail_next(LOST, REFUSED, LOST)
        send(sessions, mailer, mail, now)
        refused = send(sessions, mailer, mail, now + DOUBT)
        assert refused.status is MailStatus.UNKNOWN
        assert send(sessions, mailer, mail, refused.next_attempt_at).status is MailStatus.FAILED
        assert len(mailer.sent) == 2

    def test_a_refusal_before_does_not_count_as_doubt(self, sessions, mailer, mail, now):
        mailer.fail_next(REFUSED, LOST)
        waiting = send(sessions, mailer, mail, now)
        assert send(sessions, mailer, mail, waiting.next_attempt_at).status is MailStatus.UNKNOWN

    def test_what_a_dead_worker_left_behind_is_treated_as_unknown_once_its_lease_is_over(
        self, sessions, mailer, mail, now
    ):
        class DeadlyMailer:
            def send(self, letter):
                raise SystemExit

        with pytest.raises(SystemExit):
            send_mail(sessions, DeadlyMailer(), mail.id, now, LINKS)
        assert send(sessions, mailer, mail, now + LEASE / 2).status is MailStatus.SENDING
        found = send(sessions, mailer, mail, now + LEASE)
        assert (found.status, found.next_attempt_at) == (MailStatus.UNKNOWN, now + LEASE + DOUBT)
        assert mailer.sent == []
        assert send(sessions, mailer, mail, found.next_attempt_at).status is MailStatus.SENT

    def test_two_dead_workers_are_two_doubts(self, sessions, mailer, mail, now):
        class DeadlyMailer:
            def send(self, letter):
                raise SystemExit

        for _ in range(2):
            with pytest.raises(SystemExit):
                send_mail(sessions, DeadlyMailer(), mail.id, now, LINKS)
            now += LEASE
            found = send(sessions, mailer, mail, now)
            now = found.next_attempt_at or now
        assert found.status is MailStatus.FAILED
        assert mailer.sent == []


class TestLetters:
    def test_a_confirmation_encloses_each_ticket_with_its_code_inline(self, sessions, mailer, order, now):
        send(sessions, mailer, queue(sessions, order, "order_confirmed"), now)
        sent = mailer.sent[0]
        with sessions() as session:
            tickets = tickets_of(session, order)
        assert [base64.b64decode(ticket.qr_image) for ticket in tickets] == [
            attachment.content for attachment in sent.letter.attachments
        ]
        for attachment, ticket in zip(sent.letter.attachments, tickets, strict=True):
            assert f"cid:{attachment.content_id}" in sent.rendered.html
            assert ticket.code in sent.rendered.text
        assert sent.rendered.subject == "Your tickets for Nordic Noise"
        assert "Harbour Stage" in sent.rendered.text
        assert f"https://tickets.example{order_path(KEYRING, order.id)}" in sent.rendered.text

    def test_a_confirmation_waits_untouched_until_every_ticket_is_drawn(self, sessions, mailer, order, now):
        with sessions.begin() as session:
            last = tickets_of(session, order)[-1]
            picture = (last.qr_payload, last.qr_image)
            last.qr_payload = last.qr_image = None
        mail = queue(sessions, order, "order_confirmed")
        waiting = send(sessions, mailer, mail, now)
        assert (waiting.status, waiting.attempts, waiting.next_attempt_at) == (MailStatus.PENDING, 0, None)
        with sessions.begin() as session:
            last = tickets_of(session, order)[-1]
            last.qr_payload, last.qr_image = picture
        assert send(sessions, mailer, mail, now).status is MailStatus.SENT
        assert len(mailer.sent[0].letter.attachments) == 2

    def test_a_confirmation_leaves_out_what_was_refunded_meanwhile(self, sessions, mailer, order, now):
        with sessions.begin() as session:
            first, last = tickets_of(session, order)
            last.status = TicketStatus.REFUNDED
        send(sessions, mailer, queue(sessions, order, "order_confirmed"), now)
        assert [sent.letter.context["tickets"][0]["code"] for sent in mailer.sent] == [first.code]
        assert len(mailer.sent[0].letter.attachments) == 1

    def test_the_timeline_says_that_it_was_sent_and_the_order_gets_a_new_version(self, sessions, mailer, order, now):
        with sessions() as session:
            before = session.get_one(Order, order.id).version
        send(sessions, mailer, queue(sessions, order, "order_confirmed"), now)
        assert timeline(sessions, order)[-1:] == ["mail_sent"]
        with sessions() as session:
            assert session.get_one(Order, order.id).version > before

    @pytest.mark.parametrize(
        ("template", "stage", "reason"),
        [
            ("order_confirmed", OrderStage.CLOSED, "event_cancelled"),
            ("order_held", OrderStage.CLOSED, "hold_expired"),
            ("waitlist_offer", OrderStage.CLOSED, "offer_expired"),
        ],
    )
    def test_what_is_no_longer_so_is_not_sent(self, sessions, mailer, order, now, template, stage, reason):
        mail = queue(sessions, order, template)
        move(sessions, order, stage, reason=reason)
        moot = send(sessions, mailer, mail, now)
        assert (moot.status, moot.error) == (MailStatus.FAILED, "what it would say is no longer so")
        assert mailer.sent == []
        assert "mail_sent" not in timeline(sessions, order)

    def test_ready_to_pay_waits_until_its_deadline_is_known(self, sessions, mailer, order, now):
        mail = queue(sessions, order, "order_held")
        move(sessions, order, OrderStage.HELD)
        assert send(sessions, mailer, mail, now).status is MailStatus.PENDING
        assert mailer.sent == []

    @pytest.mark.parametrize(
        ("template", "stage", "values", "words"),
        [
            ("order_held", OrderStage.AWAITING_PAYMENT, {}, "Pay before then"),
            ("order_cancelled", OrderStage.CLOSED, {"reason": "sold_out"}, "sold out before it was your turn"),
            ("order_refunded", OrderStage.COMPLETE, {"refunded": 1_234}, "12.34"),
            ("late_payment_refunded", OrderStage.CLOSED, {"reason": "hold_expired", "refunded": 999}, "9.99"),
            ("event_cancelled", OrderStage.COMPLETE, {}, "We refund"),
            (
                "event_cancelled",
                OrderStage.CLOSED,
                {"reason": "event_cancelled", "payment_status": "pending"},
                "You paid nothing",
            ),
        ],
    )
    def test_every_letter_about_an_order_needs_nothing_but_the_order(
        self, sessions, mailer, order, now, template, stage, values, words
    ):
        move(sessions, order, stage, hold_expires_at=now, **values)
        assert send(sessions, mailer, queue(sessions, order, template), now).status is MailStatus.SENT
        assert words in mailer.sent[0].rendered.text

    def test_an_offer_names_tier_quantity_clock_and_where_to_answer(self, sessions, mailer, now):
        with sessions.begin() as session, bound_to(session):
            tier = TicketTierFactory(name="Balcony")
            order = OrderFactory(stage=OrderStage.OFFERED, tier=tier, quantity=2)
            entry = WaitlistFactory(
                user=order.user, event=tier.event, tier=tier, quantity=2, status="offered", offered_order=order
            )
        assert send(sessions, mailer, queue(sessions, order, "waitlist_offer"), now).status is MailStatus.SENT
        text = mailer.sent[0].rendered.text
        assert "2 \N{MULTIPLICATION SIGN} Balcony" in text
        assert text.count(f"https://tickets.example{offer_path(KEYRING, entry.id)}") == 2

    def test_a_one_time_link_is_made_when_the_mail_is_sent_and_is_in_no_row(self, sessions, mailer, now):
        token_id = uuid7()
        context = {**reference(KEYRING, token_id), "first_name": "Ada", "expires_minutes": 30}
        with sessions.begin() as session:
            mail = EmailNotificationFactory(session=session, template="password_reset", context=context)
        sent = send(sessions, mailer, mail, now)
        token = KEYRING.token(token_id, "k1")
        assert f"https://tickets.example/reset-password?token={token}" in mailer.sent[0].rendered.text
        assert token not in str(sent.context)

    def test_the_rows_own_context_wins(self, sessions, mailer, order, now):
        mail = queue(sessions, order, "order_cancelled", context={"reason": "sale_closed"})
        move(sessions, order, OrderStage.CLOSED, reason="sold_out")
        send(sessions, mailer, mail, now)
        assert mailer.sent[0].letter.context["reason"] == "sale_closed"


class TestStalled:
    def ring(self, sessions, before):
        with sessions() as session:
            return notifications.stalled(session, before)

    def test_rings_for_a_mail_whose_message_was_lost(self, sessions, mail, now):
        assert self.ring(sessions, now - timedelta(minutes=1)) == []
        assert self.ring(sessions, now + timedelta(minutes=1)) == [SendMail(mail.id)]

    @pytest.mark.parametrize("error", [REFUSED, LOST])
    def test_rings_for_a_mail_whose_wait_is_over(self, sessions, mailer, mail, now, error):
        mailer.fail_next(error)
        due = send(sessions, mailer, mail, now).next_attempt_at
        assert self.ring(sessions, due) == []
        assert self.ring(sessions, due + timedelta(seconds=1)) == [SendMail(mail.id)]

    def test_rings_for_what_a_dead_worker_was_sending(self, sessions, mail, now):
        with sessions.begin() as session:
            session.execute(update(EmailNotification).values(status="sending", attempts=1, next_attempt_at=now + LEASE))
        assert self.ring(sessions, now + LEASE) == []
        assert self.ring(sessions, now + LEASE + timedelta(seconds=1)) == [SendMail(mail.id)]

    def test_does_not_ring_for_a_confirmation_before_its_tickets_are_drawn(self, sessions, order, now):
        mail = queue(sessions, order, "order_confirmed")
        move(sessions, order, OrderStage.ISSUING)
        assert self.ring(sessions, now + timedelta(minutes=1)) == []
        move(sessions, order, OrderStage.COMPLETE)
        assert self.ring(sessions, now + timedelta(minutes=1)) == [SendMail(mail.id)]

    @pytest.mark.parametrize("status", ["sent", "delivered", "bounced", "failed"])
    def test_leaves_alone_what_has_ended(self, sessions, now, status):
        with sessions.begin() as session:
            EmailNotificationFactory(session=session, status=MailStatus(status))
        assert self.ring(sessions, now + timedelta(days=1)) == []

    def test_rings_for_delivery_events_that_nobody_handled(self, sessions, now):
        with sessions.begin() as session, bound_to(session):
            event = WebhookEventFactory(provider="sendgrid", type="delivered")
            WebhookEventFactory(provider="sendgrid", type="delivered", processed_at=now)
            WebhookEventFactory(provider="stripe")
        assert self.ring(sessions, now + timedelta(minutes=1)) == [ReceiveMailEvent(event.id)]
