from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from domain.errors import RetryableVendorError
from domain.messages import CancelPayment, RenderTickets, ServeTier
from domain.models import Event, LedgerEntry, Order
from domain.payments import (
    attempts,
    settlement,
)
from domain.rules.states import (
    AttemptStatus,
    EventStatus,
    InventoryState,
    LedgerKind,
    OrderReason,
    OrderStage,
    OrderStatus,
    PaymentStatus,
)

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")


@pytest.fixture
def opened(till):
    order_id = till.hold(quantity=2)
    till.open(order_id)
    return order_id


def change_intent(till, order_id, **values):
    intent_id = till.read(order_id).stripe_payment_intent_id
    till.gateway.intents[intent_id] = replace(till.gateway.intents[intent_id], **values)


def cancel_event(till, order_id):
    with till.sessions.begin() as session:
        session.execute(
            update(Event)
            .where(Event.id == session.get_one(Order, order_id).event_id)
            .values(status=EventStatus.CANCELLED, cancelled_at=till.now)
        )


class TestSettle:
    def test_a_paid_order_is_confirmed_with_its_tickets_ledger_and_mail(self, till, opened):
        till.pay_by_client(opened)
        till.settle(opened)
        order = till.read(opened)
        assert (order.stage, order.status, order.payment_status) == (
            OrderStage.ISSUING,
            OrderStatus.CONFIRMED,
            PaymentStatus.COMPLETED,
        )
        assert order.confirmed_at == till.now
        assert order.hold_expires_at is None
        assert order.stripe_charge_id == till.gateway.intents[order.stripe_payment_intent_id].charge_id
        assert till.ledger(opened) == [("charge", order.total), ("fee", -(order.fees + order.absorbed_fees))]
        assert len(till.tickets(opened)) == 2
        assert [item.desired_state for item in order.items] == [InventoryState.SOLD]
        assert till.heard(ServeTier) == [ServeTier(order.items[0].tier_id)]
        assert till.heard(RenderTickets) == [RenderTickets(opened)]
        assert till.mails(opened) == ["order_confirmed"]

    def test_settling_again_changes_nothing(self, till, opened):
        till.pay_by_client(opened)
        till.settle(opened)
        before = till.read(opened)
        till.settle(opened)
        assert till.read(opened).version == before.version
        assert len(till.ledger(opened)) == 2

    def test_an_unpaid_intent_changes_nothing(self, till, opened):
        before = till.read(opened)
        till.settle(opened)
        assert till.read(opened).version == before.version

    def test_an_order_without_an_intent_has_nothing_to_read(self, till, gateway):
        held = till.hold()
        till.settle(held)
        assert gateway.calls == []

    def test_a_clients_decline_is_told_once_and_changes_the_version(self, till, opened):
        before = till.read(opened)
        till.pay_by_client(opened, "chargeDeclined")
        till.settle(opened)
        till.settle(opened)
        assert till.timeline(opened) == ["payment_opened", "payment_failed"]
        assert till.read(opened).version > before.version

    def test_a_payment_on_its_way_is_shown_and_may_fail(self, till, opened):
        change_intent(till, opened, status="processing")
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.PROCESSING
        change_intent(till, opened, status="requires_payment_method", error_code="debit_not_authorized")
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT
        assert till.charge(opened).error_code == "debit_not_authorized"

    def test_an_intent_cancelled_by_somebody_else_closes_the_order(self, till, opened):
        change_intent(till, opened, status="canceled")
        till.settle(opened)
        order = till.read(opened)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.PAYMENT_FAILED)
        assert [item.desired_state for item in order.items] == [InventoryState.RELEASED]

    def test_a_late_report_of_an_earlier_state_does_not_undo_success(self, till, opened):
        till.pay_by_client(opened)
        till.settle(opened)
        early = replace(
            next(iter(till.gateway.intents.values())), status="requires_payment_method", error_code="declined"
        )
        with till.sessions.begin() as session:
            order, attempt = attempts.lock(session, till.charge(opened).id)
            settlement.apply_reading(session, order, attempt, early, till.now)
        assert till.read(opened).stage is OrderStage.ISSUING
        assert till.charge(opened).status is AttemptStatus.SUCCEEDED

    @pytest.mark.parametrize(
        "difference",
        [
            {"amount": 1},
            {"amount_received": 1},
            {"currency": "USD"},
            {"account_id": "acct_other"},
            {"livemode": True},
            {"id": "pi_other"},
        ],
    )
    def test_an_intent_that_differs_from_what_we_asked_for_is_not_believed(self, till, opened, difference):
        till.pay_by_client(opened)
        change_intent(till, opened, **difference)
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.AWAITING_PAYMENT
        assert till.charge(opened).error_code == "mismatch"
        assert next(iter(difference)).removesuffix("_id") in till.charge(opened).error_message
        assert till.ledger(opened) == []
        assert till.tickets(opened) == []

    def test_metadata_authorises_nothing(self, till, opened):
        till.pay_by_client(opened)
        change_intent(till, opened, metadata={"order_id": str(uuid7()), "attempt_id": str(uuid7())})
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.ISSUING

    def test_a_charge_cannot_be_booked_twice(self, till, opened):
        till.pay_by_client(opened)
        till.settle(opened)
        with till.sessions() as session:
            charge = session.scalars(select(LedgerEntry).where(LedgerEntry.kind == LedgerKind.CHARGE)).one()
            again = LedgerEntry(
                order_id=charge.order_id,
                transaction_id=charge.transaction_id,
                kind=charge.kind,
                amount=charge.amount,
                currency=charge.currency,
                provider_reference=charge.provider_reference,
            )
            session.add(again)
            with pytest.raises(IntegrityError, match="uq_ledger_entries_movement"):
                session.flush()


class TestUnwantedPayment:
    def test_a_payment_for_a_cancelled_event_goes_back(self, till, opened):
        cancel_event(till, opened)
        till.pay_by_client(opened)
        till.settle(opened)
        order = till.read(opened)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.EVENT_CANCELLED)
        assert [item.desired_state for item in order.items] == [InventoryState.RELEASED]
        till.carry_out(till.refunds(opened)[0].id)
        assert till.read(opened).refunded == order.total

    def test_a_second_charge_goes_back_and_the_order_stays_paid(self, till, opened):
        till.pay_by_client(opened)
        till.settle(opened)
        stray = till.add_stray(opened)
        till.receive(till.event({"object": "payment_intent", "id": stray}))
        (refund,) = till.refunds(opened)
        till.carry_out(refund.id)
        order = till.read(opened)
        assert (order.stage, order.refunded) == (OrderStage.ISSUING, 0)
        assert order.payment_status is PaymentStatus.COMPLETED
        assert [ticket.status for ticket in till.tickets(opened)] == ["valid", "valid"]

    def test_an_open_stray_moves_nothing_and_is_rung_to_be_cancelled(self, till, opened):
        till.pay_by_client(opened)
        till.settle(opened)
        stray = till.add_stray(opened)
        till.gateway.intents[stray] = replace(till.gateway.intents[stray], status="requires_action", amount_received=0)
        till.settle(opened)
        assert till.read(opened).stage is OrderStage.ISSUING
        assert till.heard(CancelPayment) == [CancelPayment(opened)]
        till.cancel(opened)
        assert till.gateway.intents[stray].status == "canceled"
        assert till.read(opened).stage is OrderStage.ISSUING


class TestRaces:
    ROUNDS = 8

    @pytest.fixture
    def till(self, busy_till):
        return busy_till

    def test_many_readings_at_once_settle_once(self, till, opened):
        till.pay_by_client(opened)
        barrier = Barrier(6)

        def settle():
            barrier.wait(timeout=10)
            till.settle(opened)

        with ThreadPoolExecutor(6) as pool:
            for future in [pool.submit(settle) for _ in range(6)]:
                future.result(timeout=30)
        assert len(till.tickets(opened)) == 2
        assert len(till.ledger(opened)) == 2
        assert till.timeline(opened).count("confirmed") == 1

    def test_paying_against_expiring_ends_in_tickets_or_in_a_refund(self, till):
        for _ in range(self.ROUNDS):
            order_id = till.hold(hold_limit_at=till.now - timedelta(seconds=1))
            till.open(order_id)
            barrier = Barrier(3)

            def pay(order_id=order_id, barrier=barrier):
                barrier.wait(timeout=10)
                till.pay_by_client(order_id)
                till.settle(order_id)

            def expire(barrier=barrier):
                barrier.wait(timeout=10)
                till.expire()

            def cancel(order_id=order_id, barrier=barrier):
                barrier.wait(timeout=10)
                till.cancel(order_id)

            with ThreadPoolExecutor(3) as pool:
                for future in [pool.submit(act) for act in (pay, expire, cancel)]:
                    future.result(timeout=30)
            till.cancel(order_id)
            till.settle(order_id)
            self.check(till, order_id)

    def check(self, till, order_id):
        order = till.read(order_id)
        (intent,) = [found for found in till.gateway.intents.values() if found.id == order.stripe_payment_intent_id]
        if intent.status == "succeeded":
            assert order.stage is OrderStage.ISSUING or len(till.refunds(order_id)) == 1
            assert len(till.tickets(order_id)) == (1 if order.stage is OrderStage.ISSUING else 0)
            assert len(till.ledger(order_id)) == 2
        else:
            assert order.stage is OrderStage.CLOSED
            assert till.ledger(order_id) == []

    def test_a_settlement_waits_for_the_event_that_is_being_cancelled(self, till, opened):
        till.pay_by_client(opened)
        with till.sessions.begin() as session, ThreadPoolExecutor(1) as pool:
            event_id = session.get_one(Order, opened).event_id
            session.get_one(Event, event_id, with_for_update=True)
            settling = pool.submit(till.settle, opened)
            self.wait_until_somebody_waits(session)
            session.execute(
                update(Event).where(Event.id == event_id).values(status=EventStatus.CANCELLED, cancelled_at=till.now)
            )
            session.commit()
            settling.result(timeout=10)
        assert till.read(opened).reason is OrderReason.EVENT_CANCELLED
        assert len(till.refunds(opened)) == 1

    def wait_until_somebody_waits(self, session):
        waiting = text(
            "SELECT clock_timestamp() < now() + interval '5 seconds', count(*) FROM pg_locks WHERE NOT granted"
        )
        while True:
            in_time, count = session.execute(waiting).one()
            if count:
                return
            assert in_time, "nobody waited for the event's lock"
