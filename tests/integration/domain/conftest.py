"""A till for tests of money: orders in real tables, payments at a gateway in memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import selectinload, sessionmaker
from uuid_utils.compat import uuid7

from adapters.database import dispatch_after_commit
from domain import allocation, sweep, webhooks
from domain.audit import Actor
from domain.messages import ReceivePaymentEvent, SettlePayment
from domain.models import EmailNotification, LedgerEntry, Order, PaymentTransaction, Ticket, TimelineEntry, WebhookEvent
from domain.payments import (
    attempts,
    cancellations,
    confirmations,
    disputes,
    events,
    feed,
    late_payments,
    openings,
    reconciliation,
    refunds,
    repayment,
)
from domain.rules.states import AttemptKind, InventoryState, OrderStage, UserRole
from domain.transitions import give_up, lock_order
from tests.factories import OrderFactory, bound_to
from tests.fakes.payment_gateway import FakePaymentGateway
from tests.integration.market import CLOCKS


class Till:
    """Every use case of money by one word, each in transactions of its own; `now` can be moved."""

    def __init__(self, sessions, gateway, announced):
        self.sessions, self.gateway, self.announced = sessions, gateway, announced
        self.now = datetime.now(UTC)

    def advance(self, **parts):
        self.now += timedelta(**parts)

    def hold(self, **values):
        with self.sessions.begin() as session, bound_to(session):
            return OrderFactory(**{"stage": OrderStage.HELD, "with_payment": False, **values}).id

    def open(self, order_id):
        openings.open_payment(self.sessions, self.gateway, order_id, self.now, CLOCKS)

    def request(self, order_id, card="visa"):
        with self.sessions.begin() as session:
            buyer = Actor(session.get_one(Order, order_id).user_id)
            confirmations.request_confirmation(session, order_id, buyer, f"pm_card_{card}", self.now, CLOCKS)

    def confirm(self, order_id):
        confirmations.confirm_payment(self.sessions, self.gateway, order_id, self.now)

    def pay(self, order_id, card="visa"):
        self.request(order_id, card)
        self.confirm(order_id)

    def pay_by_client(self, order_id, card="visa"):
        """Pay as Stripe.js does, behind our back."""
        self.gateway.confirm_intent(self.read(order_id).stripe_payment_intent_id, f"pm_card_{card}", str(uuid7()))

    def settle(self, order_id):
        reconciliation.settle_payment(self.sessions, self.gateway, order_id, self.now)

    def reconcile(self, **values):
        """Let the reconciler ring, and the workers answer; return the orders that were rung."""
        with self.sessions.begin() as session:
            # The rows carry the server's time, and a look pauses before the next.
            reconciliation.reconcile(session, self.now + timedelta(seconds=10), **values)
        rung = [message.order_id for message in self.heard(SettlePayment)]
        for order_id in rung:
            self.settle(order_id)
        return rung

    def give_up(self, order_id, reason):
        with self.sessions.begin() as session:
            give_up(session, lock_order(session, order_id), reason, self.now, CLOCKS)

    def cancel(self, order_id):
        cancellations.cancel_payment(self.sessions, self.gateway, order_id, self.now)

    def expire(self):
        return sweep.expire(self.sessions, self.now, CLOCKS)

    def serve(self, order_id):
        """Let the consumers of the order's tiers do a round each."""
        for item in self.read(order_id).items:
            with self.sessions.begin() as session:
                allocation.serve(session, item.tier_id, self.now, CLOCKS, batch=100)

    def conclude(self, order_id):
        late_payments.conclude(self.sessions, order_id, self.now)

    def paid(self, card="visa", **values):
        order_id = self.hold(**values)
        self.open(order_id)
        self.pay(order_id, card)
        return order_id

    def sold(self, **values):
        """Let an order be paid, and the consumer have done its part; nothing is left to be heard."""
        order_id = self.paid(**values)
        with self.sessions.begin() as session:
            for item in session.merge(self.read(order_id)).items:
                item.inventory_state, item.desired_state = InventoryState.SOLD, None
        self.announced.clear()
        return order_id

    def add_stray(self, order_id):
        """Let another intent of a paid order be paid, too; return its id."""
        intent = self.gateway.pay_again(self.read(order_id).stripe_payment_intent_id)
        with self.sessions.begin() as session:
            order = session.get_one(Order, order_id)
            attempts.identify(attempts.open_charge(session, order, intent.account_id, self.now), intent)
        return intent.id

    def request_refund(self, order_id, amount=None, reason="requested", actor=None, tickets=()):
        with self.sessions.begin() as session:
            refund = refunds.request_refund(
                session,
                order_id,
                reason=reason,
                requested_by=actor or Actor(role=UserRole.ADMIN),
                now=self.now,
                amount=amount,
                ticket_ids=[ticket.id for ticket in tickets],
            )
            return refund.id

    def carry_out(self, refund_id):
        repayment.carry_out_refund(self.sessions, self.gateway, refund_id, self.now)

    def refund(self, order_id, amount=None, **values):
        refund_id = self.request_refund(order_id, amount, **values)
        self.carry_out(refund_id)
        return refund_id

    def refundable(self, order_id):
        """Return what is left of the order's one charge."""
        with self.sessions() as session:
            return refunds.refundable(session, session.get_one(PaymentTransaction, self.charge(order_id).id))

    def dispute(self, order_id, amount=None, **values):
        """Let the card's owner dispute a payment, whole or in part; the provider's events wait to be heard."""
        dispute = self.gateway.open_dispute(self.read(order_id).stripe_payment_intent_id, **values)
        return self.change_dispute(dispute.id, amount=amount, withdrawn=amount) if amount else dispute

    def change_dispute(self, dispute_id, **values):
        """Let the provider report a dispute otherwise than before."""
        self.gateway.disputes[dispute_id] = replace(self.gateway.disputes[dispute_id], **values)
        return self.gateway.disputes[dispute_id]

    def follow(self, dispute):
        disputes.follow_dispute(self.sessions, self.gateway, dispute.id, self.now)

    def read_feed(self):
        return feed.read_feed(self.sessions, self.gateway, self.now)

    def hear(self, *heard):
        """Let the webhook bring these events, by default all that the provider has made, and handle what is new."""
        with self.sessions.begin() as session:
            webhooks.store(session, "stripe", heard or self.gateway.events)
        self.handle()

    def handle(self):
        """Let the workers handle the events that were announced."""
        for message in self.heard(ReceivePaymentEvent):
            self.receive(message.event_id)

    def event(self, subject, kind="payment_intent.succeeded", account=None):
        """Put an event about an object of the provider into the inbox."""
        with self.sessions.begin() as session:
            event = WebhookEvent(
                provider="stripe",
                provider_event_id=f"evt_{uuid7()}",
                type=kind,
                payload={"data": {"object": subject}},
                account=account,
            )
            session.add(event)
            session.flush()
            return event.id

    def receive(self, event_id):
        events.receive_event(self.sessions, self.gateway, event_id, self.now)

    def inbox(self, event_id):
        with self.sessions() as session:
            return session.get_one(WebhookEvent, event_id)

    def read(self, order_id):
        with self.sessions() as session:
            return session.scalars(select(Order).where(Order.id == order_id).options(selectinload(Order.items))).one()

    def _rows(self, model, order_id, *conditions):
        with self.sessions() as session:
            return session.scalars(
                select(model).where(model.order_id == order_id, *conditions).order_by(model.id)
            ).all()

    def timeline(self, order_id):
        return [entry.kind for entry in self._rows(TimelineEntry, order_id)]

    def charges(self, order_id):
        return self._rows(PaymentTransaction, order_id, PaymentTransaction.kind == AttemptKind.CHARGE)

    def charge(self, order_id):
        (charge,) = self.charges(order_id)
        return charge

    def refunds(self, order_id):
        return self._rows(PaymentTransaction, order_id, PaymentTransaction.kind == AttemptKind.REFUND)

    def disputes(self, order_id):
        return self._rows(PaymentTransaction, order_id, PaymentTransaction.kind == AttemptKind.DISPUTE)

    def ledger(self, order_id):
        return [(entry.kind.value, entry.amount) for entry in self._rows(LedgerEntry, order_id)]

    def tickets(self, order_id):
        return self._rows(Ticket, order_id)

    def mails(self, order_id):
        return [mail.template for mail in self._rows(EmailNotification, order_id)]

    def heard(self, kind):
        """Return, and forget, the announced messages of this kind."""
        found = [message for message in self.announced if isinstance(message, kind)]
        self.announced[:] = [message for message in self.announced if not isinstance(message, kind)]
        return found


@pytest.fixture
def gateway():
    return FakePaymentGateway()


@pytest.fixture
def till(engine, gateway, announced):
    """Return a till whose work is undone after the test; all of it happens at one moment of the server's clock."""
    with engine.connect() as connection, connection.begin() as transaction:
        sessions = sessionmaker(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")
        dispatch_after_commit(sessions, announced.extend)
        yield Till(sessions, gateway, announced)
        transaction.rollback()


@pytest.fixture
def busy_till(sessions, gateway, announced):
    """Return a till that commits for real, for tests that use it from several threads."""
    return Till(sessions, gateway, announced)
