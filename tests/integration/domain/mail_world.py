"""An event whose people are written to: a buyer of two, a buyer of one, and a friend who was handed a ticket."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from domain import mailings
from domain.audit import Actor
from domain.correspondence import Links
from domain.messages import SendMail
from domain.models import EmailNotification, Event, Mailing, Order, Ticket, User
from domain.notifications import send_mail
from domain.one_time_tokens import TokenKeyring
from domain.rules.states import OrderStage
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UnsubscriptionFactory, UserFactory, bound_to
from tests.fakes.mailer import FakeMailer

LINKS = Links("https://tickets.example", TokenKeyring({"k1": b"1" * 32}))


@dataclass
class MailWorld:
    """Rows that are committed, and the sweep and the mail worker by one word each; `now` can be moved."""

    sessions: object
    announced: list
    now: datetime

    def __post_init__(self):
        self.mailer = FakeMailer()
        with self.sessions.begin() as session, bound_to(session):
            self.event = EventFactory(title="Nordic Noise", starts_at=self.now + timedelta(days=30))
            self.tier = TicketTierFactory(event=self.event, name="Standing")
            self.pair, self.single = UserFactory(email="pair@example.com"), UserFactory(email="single@example.com")
            self.friend = UserFactory(email="friend@example.com")
            self.order = self.add_order(self.pair, 2)
            self.add_order(self.single, 1)
            self.promoter = Actor(self.event.promoter.user_id, self.event.promoter.user.role)

    def add_order(self, user, quantity, tier=None):
        return OrderFactory(user=user, tier=tier or self.tier, quantity=quantity, stage=OrderStage.COMPLETE)

    def advance(self, **parts):
        self.now += timedelta(**parts)

    def hand_on(self, giver, *, all_of_them=False):
        """Let the friend hold a ticket of somebody, or all of them."""
        with self.sessions.begin() as session:
            tickets = session.scalars(select(Ticket).where(Ticket.holder_id == giver.id)).all()
            for ticket in tickets if all_of_them else tickets[:1]:
                ticket.holder_id = self.friend.id

    def change(self, **values):
        with self.sessions.begin() as session:
            event = session.get_one(Event, self.event.id)
            for name, value in values.items():
                setattr(event, name, value)

    def add(self, factory, **values):
        with self.sessions.begin() as session:
            return factory(session=session, **values).id

    def unsubscribe(self, user):
        with self.sessions.begin() as session:
            UnsubscriptionFactory(session=session, user_id=user.id, promoter_id=self.event.promoter_id)

    def sweep(self, budget=100):
        """Let the sweep do a round, and the mail worker what it was rung for."""
        with self.sessions.begin() as session:
            mailings.begin_reminders(session, self.now)
        mailings.carry_on(self.sessions, self.now, budget)

    def send(self):
        for message in [message for message in self.announced if isinstance(message, SendMail)]:
            send_mail(self.sessions, self.mailer, message.notification_id, self.now, LINKS)
        self.announced.clear()

    def read(self, mailing_id):
        with self.sessions() as session:
            return session.get_one(Mailing, mailing_id)

    def mailings(self):
        with self.sessions() as session:
            return session.scalars(select(Mailing).order_by(Mailing.id)).all()

    def written(self, template=None):
        """Return whom mails were written to, in the order of their addresses."""
        with self.sessions() as session:
            query = select(EmailNotification.recipient).order_by(EmailNotification.recipient)
            return session.scalars(query.where(EmailNotification.template == template) if template else query).all()

    def texts(self):
        return [sent.rendered.text for sent in self.mailer.sent]

    def order_of(self, user):
        with self.sessions() as session:
            return session.scalars(select(Order).where(Order.user_id == user.id)).one()

    def actor(self, user):
        with self.sessions() as session:
            return Actor(user.id, session.get_one(User, user.id).role)
