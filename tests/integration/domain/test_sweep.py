from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from sqlalchemy import func, select, text

from domain import sweep, transitions
from domain.messages import (
    CancelPayment,
    NotifyOffer,
    OpenPayment,
    ReceiveMailEvent,
    ReceivePaymentEvent,
    RefundPayment,
    RenderTickets,
    SendMail,
    ServeTier,
)
from domain.models import Event, Waitlist
from domain.rules.states import (
    AttemptKind,
    AttemptStatus,
    EventStatus,
    InventoryState,
    OrderReason,
    OrderStage,
    WaitlistStatus,
)
from tests.factories import (
    AccountTokenFactory,
    EmailNotificationFactory,
    EventFactory,
    IdempotencyKeyFactory,
    OrderFactory,
    PaymentTransactionFactory,
    RefreshTokenFactory,
    TicketTierFactory,
    WaitlistFactory,
    WebhookEventFactory,
    bound_to,
)
from tests.integration.market import CLOCKS, until

NOW = datetime.now(UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
CLOSING = {
    OrderStage.PARTLY_HELD: OrderReason.INCOMPLETE,
    OrderStage.AWAITING_APPROVAL: OrderReason.APPROVAL_EXPIRED,
    OrderStage.OFFERED: OrderReason.OFFER_EXPIRED,
}
EXPIRING = {OrderStage.HELD, OrderStage.AWAITING_PAYMENT, OrderStage.PAYMENT_DELAYED, OrderStage.PROCESSING}


def make(sessions, factory, **values):
    with sessions.begin() as session, bound_to(session):
        return factory(**values)


def due_order(sessions, stage, **values):
    return make(sessions, OrderFactory, stage=stage, hold_expires_at=NOW - MINUTE, **values)


def read(sessions, order):
    with sessions() as session:
        return transitions.lock_order(session, order.id)


class TestExpire:
    @pytest.mark.parametrize("stage", sorted(CLOSING))
    def test_what_cannot_have_been_paid_closes_with_its_reason(self, sessions, announced, stage):
        order = due_order(sessions, stage)
        assert sweep.expire(sessions, NOW, CLOCKS) == 1
        found = read(sessions, order)
        assert (found.stage, found.reason, found.hold_expires_at) == (OrderStage.CLOSED, CLOSING[stage], None)
        assert [item.desired_state for item in found.items] == [InventoryState.RELEASED]
        assert ServeTier(found.items[0].tier_id) in announced
        assert CancelPayment(order.id) not in announced

    @pytest.mark.parametrize("stage", sorted(EXPIRING))
    def test_what_may_have_been_paid_has_its_intent_cancelled_first(self, sessions, announced, stage):
        order = due_order(sessions, stage)
        assert sweep.expire(sessions, NOW, CLOCKS) == 1
        found = read(sessions, order)
        assert (found.stage, found.reason) == (OrderStage.EXPIRING, OrderReason.HOLD_EXPIRED)
        assert [item.desired_state for item in found.items] == [None]
        assert announced == [CancelPayment(order.id)]

    def test_a_free_order_has_no_intent(self, sessions):
        with sessions.begin() as session, bound_to(session):
            order = OrderFactory(stage=OrderStage.HELD, hold_expires_at=NOW, tier=TicketTierFactory(price=0))
        sweep.expire(sessions, NOW, CLOCKS)
        found = read(sessions, order)
        assert (found.stage, found.reason) == (OrderStage.CLOSED, OrderReason.HOLD_EXPIRED)

    def test_both_tiers_of_a_partly_held_order_are_asked(self, sessions, announced):
        with sessions.begin() as session, bound_to(session):
            event = EventFactory()
            contents = {TicketTierFactory(event=event): 1, TicketTierFactory(event=event): 1}
            order = OrderFactory(stage=OrderStage.PARTLY_HELD, hold_expires_at=NOW - MINUTE, contents=contents)
        sweep.expire(sessions, NOW, CLOCKS)
        assert {item.desired_state for item in read(sessions, order).items} == {InventoryState.RELEASED}
        assert len({message for message in announced if isinstance(message, ServeTier)}) == 2

    def test_one_that_fails_holds_nobody_up(self, sessions, monkeypatch, caplog):
        poison, healthy = (due_order(sessions, OrderStage.OFFERED) for _ in range(2))
        giving_up = sweep.give_up

        def give_up(session, order, *args):
            if order.id == poison.id:
                raise RuntimeError("poison")
            giving_up(session, order, *args)

        monkeypatch.setattr(sweep, "give_up", give_up)
        assert sweep.expire(sessions, NOW, CLOCKS) == 1
        assert (read(sessions, poison).stage, read(sessions, healthy).stage) == (OrderStage.OFFERED, OrderStage.CLOSED)
        assert str(poison.id) in caplog.text

    def test_an_expired_offer_ends_its_entry(self, sessions):
        entry = make(sessions, WaitlistFactory, status=WaitlistStatus.OFFERED)
        assert sweep.expire(sessions, NOW + HOUR, CLOCKS) == 1
        with sessions() as session:
            found = session.get_one(Waitlist, entry.id)
        assert (found.status, found.response) == (WaitlistStatus.EXPIRED, None)

    def test_every_stage_that_keeps_a_clock_has_its_reason(self):
        assert set(sweep.EXPIRY_REASONS) == EXPIRING | set(CLOSING)

    def test_a_clock_that_runs_is_left_alone(self, sessions, announced):
        order = make(sessions, OrderFactory, stage=OrderStage.AWAITING_PAYMENT)
        assert sweep.expire(sessions, NOW, CLOCKS) == 0
        assert (read(sessions, order).stage, announced) == (OrderStage.AWAITING_PAYMENT, [])

    @pytest.mark.parametrize("stage", [OrderStage.QUARANTINED, OrderStage.COMPLETE, OrderStage.ISSUING])
    def test_a_clock_that_was_left_running_is_stopped(self, sessions, stage):
        order = due_order(sessions, stage)
        assert sweep.expire(sessions, NOW, CLOCKS) == 0
        found = read(sessions, order)
        assert (found.stage, found.hold_expires_at) == (stage, None)

    def test_twice_changes_nothing(self, sessions, announced):
        order = due_order(sessions, OrderStage.OFFERED)
        sweep.expire(sessions, NOW, CLOCKS)
        version = read(sessions, order).version
        announced.clear()
        assert sweep.expire(sessions, NOW, CLOCKS) == 0
        assert (read(sessions, order).version, announced) == (version, [])

    def test_an_order_that_moved_meanwhile_is_left_where_it_went(self, sessions, engine):
        order = due_order(sessions, OrderStage.AWAITING_PAYMENT)
        expired = []
        with sessions() as session:
            payer = transitions.lock_order(session, order.id)
            thread = Thread(target=lambda: expired.append(sweep.expire(sessions, NOW, CLOCKS)))
            thread.start()
            until(lambda: waiting_backends(engine) == 1)
            transitions.move(session, payer, OrderStage.PROCESSING, "payment_started")
            payer.hold_expires_at = NOW + MINUTE
            session.commit()
        thread.join(10)
        assert expired == [0]
        assert read(sessions, order).stage is OrderStage.PROCESSING


def waiting_backends(engine):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


def make_refund():
    charge = PaymentTransactionFactory(status=AttemptStatus.SUCCEEDED)
    return PaymentTransactionFactory(
        order=charge.order, parent_id=charge.id, kind=AttemptKind.REFUND, status=AttemptStatus.CREATED
    )


class TestFindStalled:
    """What waits before the moment is rung for, by each noun; what came later is not."""

    @pytest.fixture(autouse=True)
    def _rows(self, session):
        with bound_to(session):
            yield

    def test_nothing_stalls_in_an_empty_house(self, session):
        assert sweep.find_stalled(session, NOW + HOUR) == []

    def test_tiers_need_no_ring_because_their_consumers_look_for_themselves(self, session):
        OrderFactory()
        assert sweep.find_stalled(session, NOW + HOUR) == []

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: OrderFactory(stage=OrderStage.HELD).id, OpenPayment),
            (lambda: OrderFactory(stage=OrderStage.EXPIRING, with_payment=False).id, CancelPayment),
            (lambda: OrderFactory(stage=OrderStage.ISSUING).id, RenderTickets),
            (lambda: EmailNotificationFactory().id, SendMail),
            (lambda: WebhookEventFactory().id, ReceivePaymentEvent),
            (lambda: WebhookEventFactory(provider="sendgrid").id, ReceiveMailEvent),
            (lambda: WaitlistFactory(status=WaitlistStatus.OFFERED).id, NotifyOffer),
            (lambda: make_refund().id, RefundPayment),
        ],
    )
    def test_each_noun_finds_its_own(self, session, make, message):
        expected = message(make())
        # The rows carry the server's time, which is the transaction's.
        assert expected in sweep.find_stalled(session, datetime.now(UTC) + HOUR)
        assert expected not in sweep.find_stalled(session, NOW - HOUR)


class TestCompleteEvents:
    def test_published_events_that_are_over_are_completed_once(self, session):
        with bound_to(session):
            over = EventFactory(starts_at=NOW - 4 * HOUR, ends_at=NOW - HOUR)
            others = [
                EventFactory(),
                EventFactory(starts_at=NOW - HOUR, ends_at=NOW + HOUR),
                EventFactory(starts_at=NOW - 4 * HOUR, status=EventStatus.CANCELLED),
                EventFactory(starts_at=NOW - 4 * HOUR, status=EventStatus.DRAFT),
            ]
        before = {event.id: event.status for event in others}
        assert sweep.complete_events(session, NOW) == 1
        assert sweep.complete_events(session, NOW) == 0
        statuses = dict(session.execute(select(Event.id, Event.status)).all())
        assert statuses == {**before, over.id: EventStatus.COMPLETED}


def test_tidying_deletes_what_nobody_can_use_any_more_and_nothing_else(session):
    with bound_to(session):
        fresh = [
            IdempotencyKeyFactory(),
            RefreshTokenFactory(),
            AccountTokenFactory(expires_at=NOW + timedelta(days=2)),
        ]

    def count():
        return [session.scalar(select(func.count()).select_from(type(row))) for row in fresh]

    session.refresh(fresh[0])
    ends = [fresh[0].created_at + timedelta(days=1), fresh[1].expires_at, fresh[2].expires_at]
    assert sorted(ends) == [ends[0], ends[2], ends[1]]
    for end, before, after in (
        (ends[0], [1, 1, 1], [0, 1, 1]),
        (ends[2], [0, 1, 1], [0, 1, 0]),
        (ends[1], [0, 1, 0], [0, 0, 0]),
    ):
        sweep.tidy(session, end - MINUTE)
        assert count() == before
        for _ in range(2):
            sweep.tidy(session, end + MINUTE)
            assert count() == after
