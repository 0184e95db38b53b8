import inspect
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import structlog
from celery.app.trace import build_tracer
from celery.exceptions import InvalidTaskError
from kombu.message import Message as Letter
from sqlalchemy import select, text
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from adapters import broker
from adapters.clock import SystemClock
from domain import messages, sweep
from domain.audit import Actor
from domain.messages import (
    CancelPayment,
    ConfirmPayment,
    DeliverWebhook,
    FollowDispute,
    MakeStatement,
    Message,
    NotifyOffer,
    OpenPayment,
    ReadAccount,
    ReadFeed,
    ReceiveMailEvent,
    ReceivePaymentEvent,
    RefundPayment,
    RenderTickets,
    SendMail,
    ServeTier,
    SettlePayment,
    joint_payload,
    tier_queue,
)
from domain.models import (
    EmailNotification,
    Inspection,
    Order,
    PaymentTransaction,
    Promoter,
    Statement,
    Ticket,
    TicketTier,
    TicketTransfer,
    Waitlist,
    WebhookDelivery,
    WebhookEvent,
)
from domain.payments import confirmations, refunds, statements
from domain.rules.states import (
    AttemptKind,
    DeliveryStatus,
    MailStatus,
    OrderReason,
    OrderStage,
    OrderStatus,
    StripeAccountState,
    UserRole,
    WaitlistStatus,
)
from domain.transitions import give_up, lock_order
from tests.factories import (
    EmailNotificationFactory,
    EventFactory,
    OrderFactory,
    PromoterFactory,
    TicketTierFactory,
    TicketTransferFactory,
    WaitlistFactory,
    WebhookDeliveryFactory,
    WebhookEventFactory,
    bound_to,
)
from tests.fakes.hook_sender import FakeHookSender
from tests.fakes.mailer import FakeMailer
from tests.fakes.payment_gateway import FakePaymentGateway
from tests.integration.market import CLOCKS
from workers import allocation, app, hooks, notifications, tickets, waitlist
from workers import payments as payment_tasks
from workers import sweep as sweep_tasks

NOW = datetime.now(UTC)
MESSAGES = [
    kind
    for kind in vars(messages).values()
    if inspect.isclass(kind) and Message in kind.__bases__ and kind not in {ServeTier, ReadFeed}
]
STATE = text("""
    SELECT (SELECT array_agg((id, stage, version) ORDER BY id) FROM orders)::text,
           (SELECT array_agg((id, inventory_state, desired_state) ORDER BY id) FROM order_items)::text,
           (SELECT array_agg((id, status, provider_transaction_id) ORDER BY id) FROM payment_transactions)::text,
           (SELECT array_agg((id, kind, amount) ORDER BY id) FROM ledger_entries)::text,
           (SELECT array_agg((id, status, qr_payload) ORDER BY id) FROM tickets)::text,
           (SELECT array_agg((id, status) ORDER BY id) FROM email_notifications)::text,
           (SELECT array_agg((id, status, notified_at) ORDER BY id) FROM waitlist)::text,
           (SELECT array_agg((id, processed_at) ORDER BY id) FROM webhook_inbox)::text,
           (SELECT array_agg((id, stripe_account_id, stripe_account_state) ORDER BY id) FROM promoters)::text,
           (SELECT array_agg((id, made_at, difference) ORDER BY id) FROM statements)::text,
           (SELECT array_agg((id, status, attempts) ORDER BY id) FROM webhook_deliveries)::text,
           (SELECT count(*) FROM order_timeline)
""")


@pytest.fixture
def gateway():
    return FakePaymentGateway()


@pytest.fixture
def mailer():
    return FakeMailer()


@pytest.fixture
def hook_sender():
    return FakeHookSender()


@pytest.fixture(autouse=True)
def _wired(monkeypatch, sessions, announced, gateway, mailer, hook_sender):
    """Let the tasks work with this test's rows, and with vendors in memory."""
    for module in (payment_tasks, tickets, notifications, waitlist, hooks, sweep_tasks):
        monkeypatch.setattr(module, "sessions", lambda: sessions)
    monkeypatch.setattr(payment_tasks, "gateway", lambda: gateway)
    monkeypatch.setattr(notifications, "mailer", lambda: mailer)
    monkeypatch.setattr(hooks, "sender", lambda: hook_sender)
    for module in (payment_tasks, sweep_tasks):
        monkeypatch.setattr(module, "dispatcher", lambda: announced.extend)


class Later(SystemClock):
    """The time of day, an hour on."""

    def now(self):
        return super().now() + timedelta(hours=1)


def deliver(task, **headers):
    """Let a worker handle a message, or a job of beat's by its name; fail if the task does."""
    name, arguments = (task.task, task.payload()) if isinstance(task, Message) else (task, {})
    run(name, arguments, headers)


def open_together(orders, **headers):
    """Let a worker handle one message that opens the payments of several orders."""
    run(OpenPayment.task, joint_payload([OpenPayment(order.id) for order in orders]), headers)


def run(name, arguments, headers):
    trace = build_tracer(name, app.app.tasks[name], app=app.app)
    outcome = trace(str(uuid7()), (), arguments, {"delivery_info": {}, **headers})
    assert outcome.info is None, outcome.info


def deliver_twice(sessions, message):
    """Let a message be handled, then once more: doubled or late, it changes nothing."""
    deliver(message)
    before = state(sessions)
    deliver(message)
    assert state(sessions) == before


def state(sessions):
    with sessions() as session:
        return session.execute(STATE).one()


def make(sessions, factory, **values):
    with sessions.begin() as session, bound_to(session):
        return factory(**values)


def read(sessions, model, row):
    with sessions() as session:
        return session.get_one(model, getattr(row, "id", row))


@pytest.fixture
def held(sessions):
    return make(sessions, OrderFactory, stage=OrderStage.HELD, with_payment=False)


@pytest.fixture
def opened(sessions, held):
    deliver(OpenPayment(held.id))
    return held


@pytest.fixture
def account(sessions, gateway):
    opened = gateway.open_account(None, "by-hand")
    return make(sessions, PromoterFactory, stripe_account_id=opened.id, stripe_account_state=StripeAccountState.PENDING)


def ask_to_pay(sessions, order):
    with sessions.begin() as session:
        confirmations.request_confirmation(session, order.id, Actor(order.user_id), "pm_card_visa", NOW, CLOCKS)


@pytest.fixture
def paid(sessions, opened):
    ask_to_pay(sessions, opened)
    deliver(ConfirmPayment(opened.id))
    return opened


class TestPayments:
    def test_open(self, sessions, held, gateway):
        deliver_twice(sessions, OpenPayment(held.id))
        assert read(sessions, Order, held).stage is OrderStage.AWAITING_PAYMENT
        assert len(gateway.intents) == 1

    def test_open_many(self, sessions, gateway):
        held = [make(sessions, OrderFactory, stage=OrderStage.HELD, with_payment=False) for _ in range(3)]
        open_together(held)
        assert [read(sessions, Order, order).stage for order in held] == [OrderStage.AWAITING_PAYMENT] * 3
        open_together(held)
        assert len(gateway.intents) == 3

    def test_one_that_fails_is_logged_under_its_request_and_the_others_are_opened(self, sessions, gateway, monkeypatch):
        held = [make(sessions, OrderFactory, stage=OrderStage.HELD, with_payment=False) for _ in range(3)]
        opening = gateway.open_intent

        def open_intent(request, key):
            if request.order_id == held[1].id:
                raise ZeroDivisionError
            return opening(request, key)

        monkeypatch.setattr(gateway, "open_intent", open_intent)
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            open_together(held, request_ids=["r-0", "r-1", None])
        stages = [read(sessions, Order, order).stage for order in held]
        assert stages == [OrderStage.AWAITING_PAYMENT, OrderStage.HELD, OrderStage.AWAITING_PAYMENT]
        (failed,) = [entry for entry in logs if entry["event"] == "payment.not_opened"]
        assert (failed["order_id"], failed["request_id"]) == (str(held[1].id), "r-1")

    def test_those_that_there_is_no_time_for_are_rung_for_again(self, sessions, monkeypatch):
        rung = {}
        monkeypatch.setattr(payment_tasks, "dispatcher", lambda: rung.update)
        monkeypatch.setattr(payment_tasks, "OPENING_SECONDS", 0)
        held = [make(sessions, OrderFactory, stage=OrderStage.HELD, with_payment=False) for _ in range(2)]
        open_together(held, request_ids=["r-0", "r-1"])
        assert rung == {OpenPayment(held[0].id): "r-0", OpenPayment(held[1].id): "r-1"}
        assert [read(sessions, Order, order).stage for order in held] == [OrderStage.HELD] * 2

    def test_confirm(self, sessions, opened):
        ask_to_pay(sessions, opened)
        deliver_twice(sessions, ConfirmPayment(opened.id))
        assert read(sessions, Order, opened).stage is OrderStage.ISSUING

    def test_settle(self, sessions, opened, gateway):
        gateway.confirm_intent(read(sessions, Order, opened).stripe_payment_intent_id, "pm_card_visa", "by-client")
        deliver_twice(sessions, SettlePayment(opened.id))
        assert read(sessions, Order, opened).stage is OrderStage.ISSUING

    def test_cancel(self, sessions, opened):
        with sessions.begin() as session:
            give_up(session, lock_order(session, opened.id), OrderReason.BUYER_CANCELLED, NOW, CLOCKS)
        deliver_twice(sessions, CancelPayment(opened.id))
        order = read(sessions, Order, opened)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.BUYER_CANCELLED)

    def test_refund(self, sessions, paid):
        with sessions.begin() as session:
            admin = Actor(role=UserRole.ADMIN)
            refund = refunds.request_refund(session, paid.id, reason="rain", requested_by=admin, now=NOW).id
        deliver_twice(sessions, RefundPayment(refund))
        assert read(sessions, Order, paid).refunded == read(sessions, Order, paid).total

    def test_receive(self, sessions, opened, gateway):
        intent_id = read(sessions, Order, opened).stripe_payment_intent_id
        gateway.confirm_intent(intent_id, "pm_card_visa", "by-client")
        payload = {"data": {"object": {"object": "payment_intent", "id": intent_id}}}
        event = make(sessions, WebhookEventFactory, payload=payload)
        deliver_twice(sessions, ReceivePaymentEvent(event.id))
        assert read(sessions, Order, opened).stage is OrderStage.ISSUING
        assert read(sessions, WebhookEvent, event).processed_at is not None

    def test_read_account(self, sessions, account, gateway):
        gateway.change_account(account.stripe_account_id, "ready")
        deliver_twice(sessions, ReadAccount(account.stripe_account_id))
        assert read(sessions, Promoter, account).stripe_account_state is StripeAccountState.READY

    def test_feed(self, sessions, opened, gateway, announced):
        gateway.confirm_intent(read(sessions, Order, opened).stripe_payment_intent_id, "pm_card_visa", "by-client")
        announced.clear()
        deliver_twice(sessions, ReadFeed())
        (received,) = {message for message in announced if isinstance(message, ReceivePaymentEvent)}
        deliver_twice(sessions, received)
        assert read(sessions, Order, opened).stage is OrderStage.ISSUING

    def test_dispute(self, sessions, paid, gateway, announced):
        dispute = gateway.open_dispute(read(sessions, Order, paid).stripe_payment_intent_id)
        payload = {"data": {"object": {"object": "dispute", "id": dispute.id, "payment_intent": dispute.intent_id}}}
        event = make(sessions, WebhookEventFactory, type="charge.dispute.created", payload=payload)
        deliver_twice(sessions, ReceivePaymentEvent(event.id))
        gateway.close_dispute(dispute.id, "lost")
        with sessions() as session:
            attempt = session.scalars(
                select(PaymentTransaction).where(PaymentTransaction.kind == AttemptKind.DISPUTE)
            ).one()
        deliver_twice(sessions, FollowDispute(attempt.id))
        assert read(sessions, Order, paid).status is OrderStatus.REFUNDED

    def test_state(self, sessions, paid, gateway, announced):
        with sessions.begin() as session:
            statements.request(session, paid.event_id)
        message = announced[-1]
        deliver_twice(sessions, message)
        made = read(sessions, Statement, message.statement_id)
        assert (made.difference, made.body["provider"]["charged"]) == (0, read(sessions, Order, paid).total)
        assert gateway.calls.count("list_charges") == 1


class TestTicketsAndMail:
    def test_render(self, sessions, paid):
        deliver_twice(sessions, RenderTickets(paid.id))
        assert read(sessions, Order, paid).stage is OrderStage.COMPLETE
        with sessions() as session:
            assert all(session.scalars(select(Ticket.qr_image).where(Ticket.order_id == paid.id)))

    def test_send(self, sessions, paid, mailer, announced):
        deliver(RenderTickets(paid.id))
        mail = next(message for message in announced if isinstance(message, SendMail))
        deliver_twice(sessions, mail)
        assert read(sessions, EmailNotification, mail.notification_id).status is MailStatus.SENT
        assert len(mailer.sent) == 1

    def test_receive(self, sessions):
        mail = make(sessions, EmailNotificationFactory, status=MailStatus.SENT)
        payload = {"event": "delivered", "sg_message_id": mail.provider_message_id, "timestamp": NOW.timestamp()}
        event = make(sessions, WebhookEventFactory, provider="sendgrid", type="delivered", payload=payload)
        deliver_twice(sessions, ReceiveMailEvent(event.id))
        assert read(sessions, WebhookEvent, event).processed_at is not None
        assert read(sessions, EmailNotification, mail).status is MailStatus.DELIVERED

    def test_notify(self, sessions):
        entry = make(sessions, WaitlistFactory, status=WaitlistStatus.OFFERED)
        deliver_twice(sessions, NotifyOffer(entry.id))
        assert read(sessions, Waitlist, entry).is_notified

    def test_deliver(self, sessions, hook_sender):
        delivery = make(sessions, WebhookDeliveryFactory)
        deliver_twice(sessions, DeliverWebhook(delivery.id))
        assert read(sessions, WebhookDelivery, delivery).status is DeliveryStatus.DELIVERED
        assert [post.headers["webhook-id"] for post in hook_sender.posts] == [str(delivery.id)]


class TestBell:
    """What a message in a tier's queue does."""

    OWNED = frozenset({uuid7(), uuid7(), uuid7()})

    @pytest.fixture
    def rung(self, monkeypatch):
        rung = []
        owner = SimpleNamespace(ring=rung.append, owned=self.OWNED)
        monkeypatch.setattr(allocation, "owner", lambda: owner)
        return rung

    def ring(self, arguments):
        body = json.dumps([[], arguments, {}])
        with app.app.connection_for_read() as connection:
            letter = Letter(
                body, channel=connection.channel(), content_type="application/json", content_encoding="utf-8"
            )
            allocation.serve.start_strategy(app.app, consumer=None)(letter, None, None, None, [])

    def test_it_rings_the_owner_as_it_comes(self, rung, redis):
        tier_id = uuid7()
        self.ring(ServeTier(tier_id).payload())
        assert rung == [tier_id]

    def test_what_rings_for_the_owned_tiers_meanwhile_is_taken_out_and_heard_with_it(self, rung, redis):
        first, second, _ = sorted(self.OWNED)
        foreign = tier_queue(uuid7())
        redis.rpush(tier_queue(second), "a ring", "another")
        redis.rpush(foreign, "somebody else's")
        self.ring(ServeTier(first).payload())
        assert rung == [first, second]
        assert redis.keys("tier.*") == [foreign.encode()]

    def test_it_rings_though_redis_refuses_to_be_asked_for_the_others(self, rung, redis, monkeypatch):
        monkeypatch.setattr(broker, "_TAKE", "return redis.error_reply('READONLY')")
        self.ring(ServeTier(tier_id := uuid7()).payload())
        assert rung == [tier_id]

    @pytest.mark.parametrize("arguments", [{}, {"tier_id": "none"}, {"tier_id": 7}, {"tier": str(uuid7())}])
    def test_what_is_no_ring_is_thrown_away(self, rung, arguments):
        with pytest.raises(InvalidTaskError, match="no ring"):
            self.ring(arguments)
        assert rung == []


class TestSweep:
    def test_ring_sends_again_what_was_lost(self, sessions, redis, held, monkeypatch, announced):
        monkeypatch.setattr(sweep_tasks, "clock", Later())
        mail = make(sessions, EmailNotificationFactory)
        deliver("sweep.ring")
        assert set(announced) == {OpenPayment(held.id), SendMail(mail.id)}

    def test_ring_leaves_queues_mostly_alone_that_have_messages_waiting(
        self, sessions, redis, held, monkeypatch, announced
    ):
        monkeypatch.setattr(sweep_tasks, "clock", Later())
        monkeypatch.setattr(sweep_tasks, "RINGS_IN_BUSY_QUEUE", 0)
        mail = make(sessions, EmailNotificationFactory)
        redis.lpush("payments", "{}")
        deliver("sweep.ring")
        assert announced == [SendMail(mail.id)]

    def test_ring_waits_until_a_step_is_late(self, sessions, redis, held, announced):
        deliver("sweep.ring")
        assert announced == []

    def test_expire(self, sessions, monkeypatch):
        orders = [make(sessions, OrderFactory, stage=OrderStage.OFFERED) for _ in range(3)]
        over = make(sessions, EventFactory, starts_at=NOW - timedelta(days=1))
        monkeypatch.setattr(sweep_tasks, "clock", Later())
        monkeypatch.setattr(sweep, "BATCH", 2)
        deliver_twice(sessions, "sweep.expire")
        assert {read(sessions, Order, order).stage for order in orders} == {OrderStage.CLOSED}
        assert read(sessions, type(over), over).status == "completed"

    def test_expire_ends_transfers_too(self, sessions, monkeypatch):
        made = make(sessions, TicketTransferFactory, expires_at=NOW + timedelta(minutes=30))
        deliver("sweep.expire")
        assert read(sessions, TicketTransfer, made).is_pending
        monkeypatch.setattr(sweep_tasks, "clock", Later())
        deliver_twice(sessions, "sweep.expire")
        assert read(sessions, TicketTransfer, made).status == "expired"

    def test_tell_of_approvals(self, sessions):
        make(sessions, OrderFactory, stage=OrderStage.AWAITING_APPROVAL)
        deliver_twice(sessions, "sweep.tell_of_approvals")
        with sessions() as session:
            told = session.scalars(select(EmailNotification.template).order_by(EmailNotification.id)).all()
        assert told == ["order_awaiting_approval", "orders_await_approval"]

    def test_reconcile(self, sessions, redis, opened, gateway, monkeypatch, announced):
        gateway.confirm_intent(read(sessions, Order, opened).stripe_payment_intent_id, "pm_card_visa", "by-client")
        monkeypatch.setattr(sweep_tasks, "clock", Later())
        announced.clear()
        deliver_twice(sessions, "sweep.reconcile")
        assert set(announced) == {SettlePayment(opened.id)}
        deliver(SettlePayment(opened.id))
        assert read(sessions, Order, opened).stage is OrderStage.ISSUING

    def test_reconcile_waits_until_its_last_rings_were_heard(self, sessions, redis, opened, monkeypatch, announced):
        announced.clear()
        monkeypatch.setattr(sweep_tasks, "clock", Later())
        redis.lpush("payments", "{}")
        deliver("sweep.reconcile")
        assert announced == []

    def test_read_accounts(self, sessions, redis, account, announced):
        deliver_twice(sessions, "sweep.read_accounts")
        assert set(announced) == {ReadAccount(account.stripe_account_id)}

    def test_read_accounts_waits_until_its_last_rings_were_heard(self, sessions, redis, account, announced):
        redis.lpush("payments", "{}")
        deliver("sweep.read_accounts")
        assert announced == []

    def test_feed(self, redis, announced):
        deliver("sweep.feed")
        assert announced == [ReadFeed()]

    def test_feed_waits_until_its_last_rings_were_heard(self, redis, announced):
        redis.lpush("payments", "{}")
        deliver("sweep.feed")
        assert announced == []

    def test_refund(self, sessions, redis, paid, announced):
        with sessions.begin() as session:
            session.execute(text("UPDATE events SET status = 'cancelled', cancelled_at = now()"))
        deliver_twice(sessions, "sweep.refund")
        assert [type(message) for message in announced].count(RefundPayment) == 1

    def test_refund_goes_on_slowly_while_other_payments_wait(self, sessions, redis, monkeypatch, announced):
        orders = [make(sessions, OrderFactory, stage=OrderStage.COMPLETE) for _ in range(3)]
        with sessions.begin() as session:
            session.execute(text("UPDATE events SET status = 'cancelled', cancelled_at = now()"))
        monkeypatch.setattr(sweep_tasks, "ORDERS_IN_BUSY_QUEUE", 1)
        redis.lpush("payments", "{}")
        deliver("sweep.refund")
        assert [type(message) for message in announced].count(RefundPayment) == 1
        redis.delete("payments")
        deliver("sweep.refund")
        assert [type(message) for message in announced].count(RefundPayment) == len(orders)

    def test_refresh(self, sessions):
        make(sessions, OrderFactory, stage=OrderStage.COMPLETE)
        deliver_twice(sessions, "sweep.refresh")
        with sessions() as session:
            assert session.scalar(text("SELECT count(*) FROM sales_by_hour")) == 1

    def test_state(self, sessions, paid, announced):
        announced.clear()
        deliver_twice(sessions, "sweep.state")
        with sessions() as session:
            (statement,) = session.scalars(select(Statement))
        assert announced == [MakeStatement(statement.id)]
        assert statement.event_id == paid.event_id

    def test_audits_the_events_that_are_due(self, sessions, announced):
        with sessions.begin() as session, bound_to(session):
            tier = TicketTierFactory(reserved=3)
        deliver_twice(sessions, "sweep.audit")
        with sessions() as session:
            found = session.get_one(Inspection, tier.event_id)
            assert session.get_one(TicketTier, tier.id).recount_due
        assert found.suspects["counters_equal_rows"] == [str(tier.id)]
        assert announced.count(ServeTier(tier.id)) == 1

    def test_an_audit_makes_room_for_the_other_jobs(self, sessions, monkeypatch):
        monkeypatch.setattr(sweep_tasks, "AUDIT_SECONDS", -1)
        with sessions.begin() as session, bound_to(session):
            EventFactory.create_batch(2)
        for count in (1, 2):
            deliver("sweep.audit")
            with sessions() as session:
                assert len(session.scalars(select(Inspection)).all()) == count

    def test_tidy(self, sessions):
        deliver_twice(sessions, "sweep.tidy")


class TestMessages:
    @pytest.mark.parametrize("kind", MESSAGES)
    def test_one_about_a_row_that_is_not_there_does_nothing(self, sessions, kind):
        before = state(sessions)
        deliver(kind(uuid7()))
        assert state(sessions) == before

    def test_what_a_task_logs_carries_the_request_and_the_task(self, monkeypatch):
        seen = []
        monkeypatch.setattr(sweep, "tidy", lambda *_: seen.append(structlog.contextvars.get_contextvars()))
        structlog.contextvars.bind_contextvars(request_id="left behind")
        deliver("sweep.tidy", request_id="r-7")
        deliver("sweep.tidy")
        assert seen == [{"request_id": "r-7", "task": "sweep.tidy"}, {"task": "sweep.tidy"}]
        assert structlog.contextvars.get_contextvars() == {}
