"""A small world of money for stories of any order: an event in USD, its buyers, Stripe's stand-in, and a mortal worker.

Messages are announced into a queue from which a story delivers, doubles, reorders or loses them; the provider's events
wait likewise. Whoever calls the provider may die before the call or after it.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import sessionmaker
from uuid_utils.compat import uuid7

from adapters.database import dispatch_after_commit
from domain import allocation, orders, sweep, webhooks
from domain.audit import Actor
from domain.errors import DomainError, VendorError
from domain.messages import (
    CancelPayment,
    ConcludeLatePayment,
    ConfirmPayment,
    FollowDispute,
    OpenPayment,
    ReceivePaymentEvent,
    RefundPayment,
    ServeTier,
    SettlePayment,
)
from domain.models import Event, Order, PaymentFeed, PaymentTransaction, Ticket, TicketTier, WebhookEvent
from domain.payments import (
    cancellations,
    cancelled_events,
    confirmations,
    disputes,
    events,
    feed,
    late_payments,
    openings,
    reconciliation,
    refunds,
    repayment,
    statements,
)
from domain.rules.states import AttemptKind, EventStatus, UserRole
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UserFactory, bound_to
from tests.integration.market import CLOCKS

WORK = {
    OpenPayment: lambda w, m: openings.open_payment(w.sessions, w.gateway, m.order_id, w.now, CLOCKS),
    ConfirmPayment: lambda w, m: confirmations.confirm_payment(w.sessions, w.gateway, m.order_id, w.now),
    SettlePayment: lambda w, m: reconciliation.settle_payment(w.sessions, w.gateway, m.order_id, w.now),
    CancelPayment: lambda w, m: cancellations.cancel_payment(w.sessions, w.gateway, m.order_id, w.now),
    ConcludeLatePayment: lambda w, m: late_payments.conclude(w.sessions, m.order_id, w.now),
    FollowDispute: lambda w, m: disputes.follow_dispute(w.sessions, w.gateway, m.transaction_id, w.now),
    RefundPayment: lambda w, m: repayment.carry_out_refund(w.sessions, w.gateway, m.transaction_id, w.now),
    ReceivePaymentEvent: lambda w, m: events.receive_event(w.sessions, w.gateway, m.event_id, w.now),
    ServeTier: lambda w, m: w.serve(m.tier_id),
}
FATES = ("lives", "dies before the call", "dies after the call")
EVER = timedelta(days=1)


class DiedError(BaseException):
    """A worker was killed."""


class Mortal:
    """A gateway whose caller may die: before the next call, or after its effect."""

    def __init__(self, gateway):
        self._gateway = gateway
        self.fate = "lives"

    def __getattr__(self, name):
        call = getattr(self._gateway, name)

        def act(*arguments, **values):
            if self.fate == "dies before the call":
                raise DiedError
            answer = call(*arguments, **values)
            if self.fate == "dies after the call":
                raise DiedError
            return answer

        return act


class World:
    """Everything a story may do, by one word each."""

    def __init__(self, connection, over_http, *, account, returns_fees=True):
        self.sessions = sessionmaker(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        self.queue, self.mailbag = [], []
        dispatch_after_commit(self.sessions, lambda messages: self.queue.extend(m for m in messages if type(m) in WORK))
        self.http = over_http
        self.connect(over_http.gateway)
        self.now = datetime.now(UTC)
        self.orders = []
        self._open(account, returns_fees)
        self._last_event = self._newest_event()

    def connect(self, gateway):
        """Reach the provider by this gateway from now on."""
        self.stripe, self.gateway = gateway, Mortal(gateway)

    def _open(self, account, returns_fees):
        with self.sessions.begin() as session, bound_to(session):
            ready = {"promoter__stripe_account_id": account, "promoter__stripe_account_state": "ready"}
            terms = {"currency": "USD", "buyer_refund_hours": 24, "returns_fees": returns_fees}
            event = EventFactory(**terms, **(ready if account else {}))
            self.event_id = event.id
            self.tiers = [TicketTierFactory(event=event, quantity=quantity).id for quantity in (2, 3)]
            self.admin = Actor(UserFactory().id, UserRole.ADMIN)

    def _newest_event(self):
        events = self.http.events(after=None)
        newest = events[-1].id if events else None
        with self.sessions.begin() as session:
            session.add(PaymentFeed(provider="stripe", last_event_id=newest, read_until=self.now))
        return newest

    def submit(self, contents):
        with self.sessions.begin() as session, bound_to(session):
            tiers = {session.get_one(TicketTier, self.tiers[place]): quantity for place, quantity in contents.items()}
            order = OrderFactory(contents=tiers)
            self.orders.append(order.id)
        self.queue.extend(ServeTier(self.tiers[place]) for place in contents)
        return order.id

    def serve(self, tier_id):
        with self.sessions.begin() as session:
            allocation.serve(session, tier_id, self.now, CLOCKS, batch=100)

    def read(self, order_id):
        with self.sessions() as session:
            return session.get_one(Order, order_id)

    def confirm(self, order_id, method):
        self._ask(
            lambda session: confirmations.request_confirmation(
                session, order_id, Actor(session.get_one(Order, order_id).user_id), method, self.now, CLOCKS
            )
        )

    def pay_by_client(self, order_id, method):
        """Pay as Stripe.js does, behind our back, as long as Stripe lets the client secret pay."""
        if intent_id := self.read(order_id).stripe_payment_intent_id:
            self._call(lambda: self.stripe.confirm_intent(intent_id, method, str(uuid7())))

    def decide(self, order_id, outcome):
        """Let the card's owner, or the bank, decide what waits for them."""
        if intent_id := self.read(order_id).stripe_payment_intent_id:
            status = self.http.status_of(intent_id)
            if status == "requires_action":
                self.http.authenticate(intent_id, outcome)
            elif status == "processing":
                self.http.settle(intent_id, outcome)

    def cancel(self, order_id):
        buyer = Actor(self.read(order_id).user_id, UserRole.USER)
        self._ask(lambda session: orders.cancel(session, order_id, buyer, self.now, CLOCKS))

    def refund(self, order_id, *, by_buyer=False, **what):
        buyer = Actor(self.read(order_id).user_id, UserRole.USER)
        asked_by = buyer if by_buyer else self.admin
        self._ask(
            lambda session: refunds.request_refund(
                session, order_id, reason="asked for", requested_by=asked_by, now=self.now, **what
            )
        )

    def tickets(self, order_id):
        with self.sessions() as session:
            return session.scalars(select(Ticket).where(Ticket.order_id == order_id).order_by(Ticket.id)).all()

    def dispute(self, order_id):
        intent_id = self.read(order_id).stripe_payment_intent_id
        if intent_id and self.http.status_of(intent_id) == "succeeded":
            self.http.try_to(self.http.open_dispute, intent_id, "fraudulent")

    def close_disputes(self, outcome):
        for dispute_id in self.http.open_disputes():
            self.http.try_to(self.http.close_dispute, dispute_id, outcome)

    def settle_refunds(self, outcome="succeed", *, only_pending=False):
        """Let time pass for what is pending at the banks, and for what they will send back."""
        with self.sessions() as session:
            made = session.scalars(
                select(PaymentTransaction.provider_transaction_id)
                .join(Order)
                .where(Order.event_id == self.event_id, PaymentTransaction.kind == AttemptKind.REFUND)
                .where(PaymentTransaction.provider_transaction_id.is_not(None))
            ).all()
        for refund_id in made:
            if not only_pending or self.http.status_of(refund_id) == "pending":
                self.http.try_to(self.http.settle_refund, refund_id, outcome)

    def cancel_event(self):
        with self.sessions.begin() as session:
            event = session.get_one(Event, self.event_id)
            event.status, event.cancelled_at = EventStatus.CANCELLED, self.now
        self.undo_cancelled()

    def undo_cancelled(self):
        return cancelled_events.refund_cancelled_events(self.sessions, self.now, CLOCKS)

    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)
        while sweep.expire(self.sessions, self.now, CLOCKS):
            pass

    def deliver(self, message, fate="lives"):
        """Let a worker do what a message says; whoever dies leaves the message to be delivered again."""
        self.gateway.fate = fate
        try:
            WORK[type(message)](self, message)
        except DiedError:
            self.queue.append(message)
        finally:
            self.gateway.fate = "lives"

    def fetch_events(self):
        """Let the provider's new events wait for their delivery."""
        if events := self.http.events(self._last_event):
            self._last_event = events[-1].id
            self.mailbag.extend(events)

    def receive(self, event):
        """Take in a webhook's event as the web does."""
        with self.sessions.begin() as session:
            webhooks.store(session, "stripe", [event])

    def ring(self):
        """Ring for all that stalled, and read what is open, as the sweep does; return how many messages wait now."""
        with self.sessions.begin() as session:
            self.queue.extend(
                message for message in sweep.find_stalled(session, self.now + EVER) if type(message) in WORK
            )
            reconciliation.reconcile(session, self.now + EVER)
        self.queue.extend(ServeTier(tier_id) for tier_id in self.tiers)
        return len(self.queue)

    def read_feed(self):
        """Let the reconciler read the provider's own list of events."""
        return feed.read_feed(self.sessions, self.gateway, self.now)

    def state(self):
        """Compare Stripe, the ledger and the tickets."""
        return statements.reckon(self.sessions, self.stripe, self.event_id).comparison

    def retry_events(self):
        """Let the inbox's pauses be over."""
        with self.sessions() as session:
            waiting = session.scalars(select(WebhookEvent.id).where(WebhookEvent.processed_at.is_(None))).all()
        self.queue.extend(ReceivePaymentEvent(event_id) for event_id in waiting)

    def work(self):
        """Deliver everything that waits, and what that announces, in its order."""
        while self.queue:
            waiting, self.queue[:] = list(dict.fromkeys(self.queue)), []
            for message in waiting:
                self.deliver(message)

    def rows(self, statement, **values):
        with self.sessions() as session:
            return session.execute(text(statement), values).all()

    def change(self, statement):
        with self.sessions.begin() as session:
            session.execute(text(statement))

    def _ask(self, act):
        try:
            with self.sessions.begin() as session:
                act(session)
        except DomainError:
            """A refusal is an answer, too."""

    def _call(self, act):
        try:
            act()
        except VendorError:
            """Stripe said no to the client, not to us."""
