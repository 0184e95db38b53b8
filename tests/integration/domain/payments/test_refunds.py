from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select, update

from domain.audit import Actor
from domain.errors import ConflictError, InvalidError, PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.messages import CancelPayment, RefundPayment
from domain.models import AuditLog, Event, Order, TicketTier
from domain.payments import (
    refunds,
)
from domain.ports import STORED_ERROR
from domain.rules.states import (
    AttemptStatus,
    EventStatus,
    InventoryState,
    OrderReason,
    OrderStage,
    OrderStatus,
    TicketStatus,
    UserRole,
)
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UserFactory, bound_to
from tests.integration.market import CLOCKS

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")
CUT = UnknownOutcomeError("Stripe did not answer.", code="connection")
STORED = UnknownOutcomeError("An error occurred.", code=STORED_ERROR)
REFUSED = PermanentVendorError("Not enough money.", code="balance_insufficient")


@pytest.fixture
def paid(till):
    order_id = till.paid(quantity=2)
    with till.sessions.begin() as session:
        # The consumer has done its part.
        for item in session.merge(till.read(order_id)).items:
            item.inventory_state, item.desired_state = InventoryState.SOLD, None
    till.announced.clear()
    return order_id


class TestRequest:
    def test_what_can_be_refunded_is_reserved_before_anybody_is_called(self, till, paid, gateway):
        total = till.read(paid).total
        refund_id = till.request_refund(paid, 1000)
        (refund,) = till.refunds(paid)
        assert (refund.id, refund.amount, refund.status) == (refund_id, 1000, AttemptStatus.CREATED)
        assert refund.parent_id == till.charge(paid).id
        assert till.heard(RefundPayment) == [RefundPayment(refund_id)]
        assert "refund" not in gateway.calls
        with pytest.raises(ConflictError) as refusal:
            till.request_refund(paid, total - 999)
        assert (refusal.value.code, refusal.value.pointer) == ("refund-exceeds-payment", "/amount")
        till.request_refund(paid)
        assert [refund.amount for refund in till.refunds(paid)] == [1000, total - 1000]
        with pytest.raises(ConflictError) as refusal:
            till.request_refund(paid)
        assert refusal.value.code == "nothing-to-refund"

    def test_who_asked_is_audited(self, till, paid):
        with till.sessions.begin() as session:
            admin = Actor(UserFactory(session=session).id, UserRole.ADMIN)
        till.request_refund(paid, 500, actor=admin)
        assert till.refunds(paid)[0].requested_by_id == admin.user_id
        with till.sessions() as session:
            entry = session.scalars(select(AuditLog).where(AuditLog.entity_id == paid)).one()
        assert (entry.action, entry.actor_id, entry.new_data["amount"]) == ("order.refund", admin.user_id, 500)

    @pytest.mark.parametrize("amount", [0, -1])
    def test_nothing_and_less_cannot_be_refunded(self, till, paid, amount):
        with pytest.raises(InvalidError):
            till.request_refund(paid, amount)

    def test_an_unpaid_order_has_nothing_to_refund(self, till):
        order_id = till.hold()
        till.open(order_id)
        with pytest.raises(ConflictError) as refusal:
            till.request_refund(order_id)
        assert refusal.value.code == "nothing-to-refund"


class TestRaces:
    @pytest.fixture
    def till(self, busy_till):
        return busy_till

    def test_two_at_once_never_reserve_more_than_was_paid(self, till, paid):
        barrier = Barrier(4)

        def request():
            barrier.wait(timeout=10)
            try:
                till.request_refund(paid)
            except ConflictError as refusal:
                return refusal.code
            return "reserved"

        with ThreadPoolExecutor(4) as pool:
            outcomes = [future.result(timeout=30) for future in [pool.submit(request) for _ in range(4)]]
        assert sorted(outcomes) == ["nothing-to-refund"] * 3 + ["reserved"]
        assert len(till.refunds(paid)) == 1

    def test_workers_at_once_refund_once(self, till, paid, gateway):
        refund_id = till.request_refund(paid, 700)
        barrier = Barrier(4)

        def carry_out():
            barrier.wait(timeout=10)
            till.carry_out(refund_id)

        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(carry_out) for _ in range(4)]:
                future.result(timeout=30)
        assert len(gateway.refunds) == 1
        assert till.read(paid).refunded == 700
        assert till.timeline(paid).count("refunded") == 1


class TestCancelledEvents:
    @pytest.fixture
    def tier(self, till):
        with till.sessions.begin() as session, bound_to(session):
            return TicketTierFactory()

    def place(self, till, tier, **values):
        with till.sessions.begin() as session, bound_to(session):
            tier = session.get_one(TicketTier, tier.id)
            return OrderFactory(tier=tier, with_payment=False, with_tickets=False, **values).id

    def cancel(self, till, tier):
        with till.sessions.begin() as session:
            session.execute(
                update(Event)
                .where(Event.id == tier.event_id)
                .values(status=EventStatus.CANCELLED, cancelled_at=till.now)
            )

    def undo(self, till, **values):
        return refunds.refund_cancelled_events(till.sessions, till.now, CLOCKS, **values)

    def test_every_order_is_undone_until_none_is_left(self, till, tier):
        queued = self.place(till, tier, stage=OrderStage.QUEUED)
        payable, captured = (self.place(till, tier, stage=OrderStage.HELD) for _ in range(2))
        for order_id in (payable, captured):
            till.open(order_id)
        till.pay(captured)
        self.cancel(till, tier)
        assert self.undo(till) == 3
        assert till.read(queued).reason is OrderReason.EVENT_CANCELLED
        assert (till.read(payable).stage, till.heard(CancelPayment)) == (OrderStage.EXPIRING, [CancelPayment(payable)])
        till.cancel(payable)
        till.carry_out(till.refunds(captured)[0].id)
        order = till.read(captured)
        assert (order.status, order.reason) == (OrderStatus.REFUNDED, OrderReason.EVENT_CANCELLED)
        assert till.read(payable).reason is OrderReason.EVENT_CANCELLED
        assert self.undo(till) == 0
        assert till.mails(captured) == ["order_confirmed", "event_cancelled", "order_refunded"]
        assert till.mails(payable) == ["event_cancelled"]

    def test_rounds_are_paced_and_resumable(self, till, tier):
        for _ in range(3):
            self.place(till, tier, stage=OrderStage.QUEUED)
        self.cancel(till, tier)
        assert [self.undo(till, limit=2) for _ in range(3)] == [2, 1, 0]

    def test_a_refund_under_way_is_waited_for(self, till, tier):
        captured = self.place(till, tier, stage=OrderStage.HELD)
        till.open(captured)
        till.pay(captured)
        till.refund(captured, 100)
        self.cancel(till, tier)
        assert [self.undo(till) for _ in range(2)] == [1, 0]
        assert till.refunds(captured)[1].amount == till.read(captured).total - 100

    def test_a_charge_that_went_back_before_is_not_refunded_again(self, till, tier):
        captured = self.place(till, tier, stage=OrderStage.HELD)
        till.open(captured)
        till.pay(captured)
        till.receive(till.event({"object": "payment_intent", "id": till.add_stray(captured)}))
        till.carry_out(till.refunds(captured)[0].id)
        self.cancel(till, tier)
        self.undo(till)
        assert [refund.reason for refund in till.refunds(captured)] == ["late_payment", "event_cancelled"]
        till.carry_out(till.refunds(captured)[1].id)
        assert till.read(captured).status is OrderStatus.REFUNDED
        assert sum(amount for _, amount in till.ledger(captured)) == 0

    def test_a_failing_refund_follows_itself_in_growing_pauses(self, till, tier, gateway):
        captured = self.place(till, tier, stage=OrderStage.HELD)
        till.open(captured)
        till.pay(captured)
        self.cancel(till, tier)
        self.undo(till)
        gateway.fail("refund", REFUSED)
        till.carry_out(till.refunds(captured)[0].id)
        assert self.undo(till) == 0
        follower = till.refunds(captured)[1]
        assert (follower.attempt, follower.status) == (2, AttemptStatus.CREATED)
        till.carry_out(follower.id)
        assert till.read(captured).status is OrderStatus.REFUNDED

    def test_a_free_order_only_loses_its_tickets(self, till):
        with till.sessions.begin() as session, bound_to(session):
            tier = TicketTierFactory(price=0)
        free = self.place(till, tier, stage=OrderStage.HELD)
        till.open(free)
        self.cancel(till, tier)
        self.undo(till)
        order = till.read(free)
        assert (order.status, order.reason) == (OrderStatus.CANCELLED, OrderReason.EVENT_CANCELLED)
        assert [ticket.status for ticket in till.tickets(free)] == [TicketStatus.CANCELLED]
        assert [item.desired_state for item in order.items] == [InventoryState.RELEASED]

    def test_orders_of_other_events_stay(self, till, tier):
        with till.sessions.begin() as session, bound_to(session):
            EventFactory(status=EventStatus.CANCELLED)
        self.place(till, tier, stage=OrderStage.QUEUED)
        assert self.undo(till) == 0

    def test_what_ended_between_the_look_and_the_lock_is_left_alone(self, till, tier, monkeypatch):
        order_id = self.place(till, tier, stage=OrderStage.QUEUED)
        self.cancel(till, tier)
        locking = refunds.lock_order

        def end_first(session, locked_id):
            till.give_up(locked_id, OrderReason.BUYER_CANCELLED)
            return locking(session, locked_id)

        monkeypatch.setattr(refunds, "lock_order", end_first)
        self.undo(till)
        with till.sessions() as session:
            assert session.get_one(Order, order_id).reason is OrderReason.BUYER_CANCELLED
