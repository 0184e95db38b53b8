from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import joinedload

from domain import erasure, tickets, transfers
from domain.audit import Actor
from domain.correspondence import Links
from domain.errors import ConflictError, InvalidError, NotFoundError
from domain.messages import RenderTickets, SendMail
from domain.models import AuditLog, EmailNotification, Event, Order, Ticket, TicketTransfer, TimelineEntry, User
from domain.notifications import send_mail
from domain.one_time_tokens import TokenKeyring
from domain.payments import cancelled_events
from domain.rules.states import EventStatus, MailStatus, OrderStage, TicketStatus, TransferStatus
from domain.transfer_policy import OFFERS_PER_DAY
from domain.transfers import Recipient
from tests.factories import (
    EventFactory,
    OrderFactory,
    TicketTierFactory,
    UserFactory,
    bound_to,
)
from tests.fakes.mailer import FakeMailer
from tests.fakes.qr_renderer import FakeQRRenderer
from tests.fakes.signer import FakeSigner
from tests.integration.market import CLOCKS

LINKS = Links("https://tickets.example", TokenKeyring({"k1": b"1" * 32}))
FRIEND = "grace@example.com"


class Exchange:
    """A buyer with one ticket, a friend with an account, and what they do to each other; each in its transaction."""

    def __init__(self, till, order_id):
        self.till, self.sessions, self.order_id = till, till.sessions, order_id
        with till.sessions.begin() as session, bound_to(session):
            self.friend = actor_of(UserFactory(email=FRIEND, first_name="Grace", last_name="Hopper"))
            self.buyer = actor_of(session.get_one(User, session.get_one(Order, order_id).user_id))

    def offer(self, email=FRIEND, name=None, *, sender=None):
        with self.sessions.begin() as session:
            recipient = Recipient(email, name)
            return transfers.offer(session, self.ticket.id, sender or self.buyer, recipient, self.till.now).id

    def act(self, act, transfer_id, actor):
        with self.sessions.begin() as session:
            act(session, transfer_id, actor, self.till.now)

    def accept(self, transfer_id, actor=None):
        self.act(transfers.accept, transfer_id, actor or self.friend)

    def handed_on(self, **values):
        transfer_id = self.offer(**values)
        self.accept(transfer_id)
        return transfer_id

    def draw(self):
        tickets.render(self.sessions, FakeSigner(), FakeQRRenderer(), self.order_id)

    def change(self, model, **values):
        with self.sessions.begin() as session:
            session.execute(update(model).values(**values))

    @property
    def ticket(self):
        (ticket,) = self.till.tickets(self.order_id)
        return ticket

    @property
    def event(self):
        with self.sessions() as session:
            return session.get_one(Event, self.ticket.event_id, options=[joinedload(Event.promoter)])

    def status(self, transfer_id):
        with self.sessions() as session:
            return session.get_one(TicketTransfer, transfer_id).status

    def mails(self, *templates):
        query = (
            select(EmailNotification).where(EmailNotification.template.in_(templates)).order_by(EmailNotification.id)
        )
        with self.sessions() as session:
            return [(mail.template, mail.recipient) for mail in session.scalars(query)]

    def posted(self, template):
        """Send the mail of this template; return its row, and its text if it went out."""
        mailer = FakeMailer()
        with self.sessions() as session:
            mail_id = session.scalars(select(EmailNotification.id).where(EmailNotification.template == template)).one()
        send_mail(self.sessions, mailer, mail_id, self.till.now, LINKS)
        with self.sessions() as session:
            return session.get_one(EmailNotification, mail_id), mailer.sent[0].rendered.text if mailer.sent else None


def actor_of(user):
    return Actor(user_id=user.id, role=user.role)


def open_exchange(till):
    order_id = till.paid()
    exchange = Exchange(till, order_id)
    exchange.draw()
    till.announced.clear()
    return exchange


@pytest.fixture
def exchange(till):
    return open_exchange(till)


@pytest.fixture
def other(exchange):
    with exchange.sessions.begin() as session:
        return actor_of(UserFactory(session=session))


def refused(act, *arguments, **values):
    with pytest.raises(ConflictError) as refusal:
        act(*arguments, **values)
    return refusal.value.code


class TestOffer:
    def test_writes_to_the_address_and_changes_nothing_about_the_ticket(self, exchange):
        before = exchange.ticket
        transfer_id = exchange.offer("nobody-yet@example.com", "Edsger")
        after = exchange.ticket
        assert (after.code, after.holder_id, after.is_valid) == (before.code, before.holder_id, True)
        mail, text = exchange.posted("transfer_offered")
        assert (mail.recipient, mail.recipient_name) == ("nobody-yet@example.com", "Edsger")
        assert mail.order_id is mail.event_id is None
        assert f"https://tickets.example/transfers/{transfer_id}?token=" in text
        assert after.code not in text
        with exchange.sessions() as session:
            act = session.scalars(select(AuditLog).where(AuditLog.action == "transfer.offer")).one()
            assert (act.entity_id, act.new_data) == (transfer_id, {"ticket_id": str(after.id)})

    @pytest.mark.parametrize(("hours", "lifetime"), [(None, timedelta(days=7)), (29 * 24, timedelta(days=1))])
    def test_stands_for_a_week_and_not_past_the_events_deadline(self, exchange, hours, lifetime):
        starts_at = exchange.till.now + timedelta(days=30)
        exchange.change(Event, starts_at=starts_at, ends_at=starts_at + timedelta(hours=3), transfer_until_hours=hours)
        transfer_id = exchange.offer()
        with exchange.sessions() as session:
            assert session.get_one(TicketTransfer, transfer_id).expires_at == exchange.till.now + lifetime

    @pytest.mark.parametrize(
        ("values", "code"),
        [
            ({"transfers_allowed": False}, "transfers-not-allowed"),
            ({"transfer_until_hours": 31 * 24}, "transfer-window-over"),
            ({"status": EventStatus.CANCELLED}, "event-cancelled"),
        ],
    )
    def test_the_event_may_forbid_it_then_and_later(self, exchange, values, code):
        transfer_id = exchange.offer()
        cancelled = {"cancelled_at": exchange.till.now} if "status" in values else {}
        exchange.change(Event, **values, **cancelled)
        assert refused(exchange.accept, transfer_id) == code
        exchange.act(transfers.cancel, transfer_id, exchange.buyer)
        assert refused(exchange.offer) == code

    def test_a_ticket_goes_to_one_person_at_a_time_and_not_too_often(self, exchange):
        for _ in range(OFFERS_PER_DAY):
            transfer_id = exchange.offer()
            assert refused(exchange.offer, "edsger@example.com") == "transfer-pending"
            exchange.act(transfers.cancel, transfer_id, exchange.buyer)
        assert refused(exchange.offer) == "too-many-transfers"
        exchange.till.advance(days=1, minutes=1)
        assert exchange.offer()

    def test_only_its_holder_offers_it_and_not_to_themselves(self, exchange, other):
        with pytest.raises(NotFoundError):
            exchange.offer(sender=other)
        with exchange.sessions() as session:
            own = session.get_one(User, exchange.buyer.user_id).email
        with pytest.raises(InvalidError) as refusal:
            exchange.offer(own.upper())
        assert refusal.value.pointer == "/email"
        exchange.change(User, email_verified=False, email_verified_at=None)
        assert refused(exchange.offer) == "email-unverified"


class TestAccept:
    def test_the_ticket_changes_hands_and_the_old_code_dies(self, exchange):
        old = exchange.ticket
        transfer_id = exchange.handed_on(name="G. Hopper")
        new = exchange.ticket
        assert (new.holder_id, new.attendee_name, new.attendee_email) == (exchange.friend.user_id, "G. Hopper", FRIEND)
        assert (new.code_version, new.qr_payload, new.qr_image) == (old.code_version + 1, None, None)
        assert new.code != old.code
        handed = new.transferred_from_id, new.transferred_to_id, new.transferred_at
        assert handed == (exchange.buyer.user_id, exchange.friend.user_id, exchange.till.now)
        assert exchange.till.heard(RenderTickets) == [RenderTickets(exchange.order_id)]
        assert exchange.status(transfer_id) is TransferStatus.ACCEPTED
        # Repeating it draws no other code.
        exchange.accept(transfer_id)
        assert exchange.ticket.code == new.code

    def test_the_new_code_is_drawn_and_mailed_to_the_new_holder_alone(self, exchange):
        exchange.handed_on()
        exchange.till.heard(SendMail)
        exchange.draw()
        exchange.draw()
        assert exchange.ticket.code in exchange.ticket.qr_payload
        assert exchange.till.read(exchange.order_id).stage is OrderStage.COMPLETE
        assert exchange.mails("ticket_received", "transfer_accepted")[-1:] == [("ticket_received", FRIEND)]
        assert len(exchange.till.heard(SendMail)) == 1
        mail, text = exchange.posted("ticket_received")
        assert mail.event_id == exchange.event.id
        assert exchange.ticket.code in text
        assert mail.order_id is None
        assert "/orders/" not in text

    def test_the_sender_is_told_and_the_orders_timeline_names_nobody(self, exchange):
        version = exchange.till.read(exchange.order_id).version
        exchange.handed_on()
        assert "has taken over your ticket" in exchange.posted("transfer_accepted")[1]
        with exchange.sessions() as session:
            last = session.scalars(select(TimelineEntry).order_by(TimelineEntry.id.desc()).limit(1)).one()
        assert (last.kind, last.data) == ("ticket_transferred", {})
        assert exchange.till.read(exchange.order_id).version > version

    def test_a_confirmation_that_is_late_shows_no_code_of_another_holder(self, exchange):
        exchange.handed_on()
        exchange.draw()
        mail, text = exchange.posted("order_confirmed")
        assert (mail.status, text) == (MailStatus.FAILED, None)

    def test_it_is_for_whoever_has_proven_the_address(self, exchange, other):
        transfer_id = exchange.offer(FRIEND.upper())
        for act in (transfers.accept, transfers.decline):
            with pytest.raises(NotFoundError):
                exchange.act(act, transfer_id, other)
            with pytest.raises(NotFoundError):
                exchange.act(act, transfer_id, exchange.buyer)
        exchange.change(User, email_verified=False, email_verified_at=None)
        assert refused(exchange.accept, transfer_id) == "email-unverified"
        exchange.change(User, email_verified=True, email_verified_at=exchange.till.now)
        exchange.accept(transfer_id)
        assert exchange.ticket.holder_id == exchange.friend.user_id

    def test_it_may_go_on_and_even_come_back(self, exchange):
        exchange.handed_on()
        with exchange.sessions() as session:
            own = session.get_one(User, exchange.buyer.user_id).email
        back = exchange.offer(own, sender=exchange.friend)
        exchange.accept(back, exchange.buyer)
        assert (exchange.ticket.holder_id, exchange.ticket.code_version) == (exchange.buyer.user_id, 3)


class TestEnd:
    @pytest.mark.parametrize(
        ("end", "status", "template"),
        [
            (lambda exchange, made: exchange.act(transfers.decline, made, exchange.friend), "declined", "declined"),
            (lambda exchange, made: exchange.act(transfers.cancel, made, exchange.buyer), "cancelled", None),
            (
                lambda exchange, _: exchange.act(transfers.cancel_of_ticket, exchange.ticket.id, exchange.buyer),
                "cancelled",
                None,
            ),
            (lambda exchange, _: transfers.expire(exchange.sessions, exchange.till.now), "expired", "in time"),
        ],
    )
    def test_the_ticket_stays_where_it_is(self, exchange, end, status, template):
        made, before = exchange.offer(), exchange.ticket
        exchange.till.advance(**{"days": 8} if status == "expired" else {"minutes": 1})
        end(exchange, made)
        end(exchange, made)
        after = exchange.ticket
        assert (after.code, after.holder_id) == (before.code, before.holder_id)
        assert exchange.status(made) == status
        assert refused(exchange.accept, made) == "transfer-closed"
        if template:
            assert template in exchange.posted("transfer_refused")[1]
        assert exchange.posted("transfer_offered")[0].error == "what it would say is no longer so"
        assert exchange.offer()

    def test_its_clock_counts_whether_or_not_the_sweep_has_been(self, exchange):
        made = exchange.offer()
        exchange.till.advance(days=7)
        for act, actor in (
            (transfers.accept, exchange.friend),
            (transfers.decline, exchange.friend),
            (transfers.cancel, exchange.buyer),
        ):
            assert refused(exchange.act, act, made, actor) == "transfer-closed"
        assert exchange.status(made) is TransferStatus.PENDING

    def test_what_was_accepted_cannot_be_taken_back(self, exchange):
        made = exchange.handed_on()
        assert refused(exchange.act, transfers.cancel, made, exchange.buyer) == "transfer-closed"
        assert refused(exchange.act, transfers.decline, made, exchange.friend) == "transfer-closed"
        with pytest.raises(NotFoundError):
            exchange.act(transfers.cancel_of_ticket, exchange.ticket.id, exchange.buyer)

    def test_only_the_sender_cancels(self, exchange, other):
        made = exchange.offer()
        for actor in (other, exchange.friend):
            with pytest.raises(NotFoundError):
                exchange.act(transfers.cancel, made, actor)
        assert exchange.status(made) is TransferStatus.PENDING

    @pytest.mark.parametrize("how", ["used", "cancelled", "refunded", "disputed", "refund pending"])
    def test_a_ticket_that_ends_takes_its_offer_with_it(self, exchange, how):
        made = exchange.offer()
        match how:
            case "used":
                exchange.change(Ticket, status=TicketStatus.USED, checked_in_at=exchange.till.now)
            case "disputed":
                exchange.change(Ticket, blocked_at=exchange.till.now)
            case "refund pending":
                exchange.till.request_refund(exchange.order_id)
            case _:
                exchange.change(Ticket, status=TicketStatus(how))
        assert exchange.status(made) is TransferStatus.VOID
        assert refused(exchange.accept, made) == "transfer-closed"
        assert refused(exchange.offer) == "ticket-not-transferable"


class TestRefundOfATransferredTicket:
    def test_the_money_goes_to_the_buyer_and_the_holder_is_told(self, exchange):
        exchange.handed_on()
        exchange.draw()
        exchange.till.refund(exchange.order_id)
        assert exchange.ticket.status is TicketStatus.REFUNDED
        order = exchange.till.read(exchange.order_id)
        assert order.refunded == order.total
        with exchange.sessions() as session:
            buyer = session.get_one(User, exchange.buyer.user_id).email
        told = exchange.mails("order_refunded", "ticket_withdrawn")
        assert sorted(told) == [("order_refunded", buyer), ("ticket_withdrawn", FRIEND)]
        text = exchange.posted("ticket_withdrawn")[1]
        assert "whoever" in text
        assert "cancelled" not in text
        assert exchange.posted("ticket_received")[0].error == "what it would say is no longer so"

    def test_a_ticket_of_an_event_that_is_off_is_mailed_to_nobody(self, exchange):
        exchange.handed_on()
        exchange.change(Event, status=EventStatus.CANCELLED, cancelled_at=exchange.till.now)
        exchange.draw()
        assert exchange.posted("ticket_received")[0].error == "what it would say is no longer so"

    def test_the_buyer_cannot_ask_for_it(self, exchange):
        exchange.change(Event, buyer_refund_hours=0)
        exchange.handed_on()
        assert refused(exchange.till.request_refund, exchange.order_id, actor=exchange.buyer) == "refund-not-allowed"

    def test_a_cancelled_event_tells_the_holder_too(self, exchange):
        exchange.handed_on()
        exchange.change(Event, status=EventStatus.CANCELLED, cancelled_at=exchange.till.now)
        cancelled_events.refund_cancelled_events(exchange.sessions, exchange.till.now, CLOCKS)
        # The bank may take days over the refund.
        assert "The event was cancelled." in exchange.posted("ticket_withdrawn")[1]
        (refund,) = exchange.till.refunds(exchange.order_id)
        exchange.till.carry_out(refund.id)
        assert exchange.mails("ticket_withdrawn") == [("ticket_withdrawn", FRIEND)]

    def test_a_buyer_who_has_it_back_is_told_about_the_order_alone(self, exchange):
        exchange.handed_on()
        with exchange.sessions() as session:
            own = session.get_one(User, exchange.buyer.user_id).email
        exchange.accept(exchange.offer(own, sender=exchange.friend), exchange.buyer)
        exchange.till.refund(exchange.order_id)
        assert exchange.mails("ticket_withdrawn") == []


def test_a_person_sees_what_they_sent_and_what_was_sent_to_them(exchange, other):
    sent = exchange.offer()
    with exchange.sessions.begin() as session, bound_to(session):
        tier = TicketTierFactory(event=EventFactory())
        order = OrderFactory(stage=OrderStage.COMPLETE, tier=tier, user=session.get_one(User, exchange.friend.user_id))
        theirs = session.scalars(select(Ticket).where(Ticket.order_id == order.id)).one()
        own = session.get_one(User, exchange.buyer.user_id).email
        received = transfers.offer(session, theirs.id, exchange.friend, Recipient(own), exchange.till.now).id
    with exchange.sessions() as session:
        listed = transfers.list_own(session, exchange.buyer, limit=5, after=None)
        assert [transfer.id for transfer in listed] == [received, sent]
        assert [row.id for row in transfers.list_own(session, exchange.buyer, limit=5, after=received)] == [sent]
        assert len(transfers.list_own(session, exchange.friend, limit=1, after=None)) == 2
        assert transfers.list_own(session, other, limit=5, after=None) == []
    exchange.change(User, email_verified=False, email_verified_at=None)
    with exchange.sessions() as session:
        assert [row.id for row in transfers.list_own(session, exchange.buyer, limit=5, after=None)] == [sent]


def test_an_erased_person_answers_no_offer_that_nobody_remembers(exchange):
    transfer_id = exchange.offer()
    with exchange.sessions.begin() as session:
        erasure.erase(session, exchange.friend, exchange.friend.user_id, exchange.till.now)
    with exchange.sessions() as session:
        assert transfers.list_own(session, exchange.friend, limit=5, after=None) == []
    with pytest.raises(NotFoundError):
        exchange.act(transfers.decline, transfer_id, exchange.friend)


@pytest.mark.parametrize("rival", ["cancel", "accept"])
def test_of_two_at_once_one_wins(busy_till, rival):
    exchange = open_exchange(busy_till)
    made, barrier = exchange.offer(), Barrier(2)

    def run(act, actor):
        barrier.wait(10)
        try:
            exchange.act(act, made, actor)
        except ConflictError as refusal:
            return refusal.code
        return "done"

    second = (transfers.cancel, exchange.buyer) if rival == "cancel" else (transfers.accept, exchange.friend)
    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(run, *pair) for pair in ((transfers.accept, exchange.friend), second)]
        results = sorted(outcome.result() for outcome in outcomes)
    assert results == (["done", "transfer-closed"] if rival == "cancel" else ["done", "done"])
    is_handed_on = exchange.status(made) is TransferStatus.ACCEPTED
    assert exchange.ticket.code_version == (2 if is_handed_on else 1)
