import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from domain.audit import Actor
from domain.errors import ForbiddenError, NotFoundError, RetryableVendorError
from domain.messages import FollowDispute, RefundPayment, ServeTier, SettlePayment
from domain.models import AuditLog, Event, Order, Ticket, WebhookDelivery
from domain.payments import cancelled_events, disputes, outcomes
from domain.rules.states import (
    AttemptStatus,
    EventStatus,
    InventoryState,
    OrderReason,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    TicketStatus,
    UserRole,
)
from domain.transitions import lock_order
from tests.factories import UserFactory, WebhookEndpointFactory, bound_to
from tests.integration.market import CLOCKS

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")


@pytest.fixture
def paid(till):
    return till.sold(quantity=2)


@pytest.fixture
def total(till, paid):
    return till.read(paid).total


@pytest.fixture
def disputed(till, paid):
    """A chargeback of the whole payment, of which we have heard."""
    dispute = till.dispute(paid, reason="product_not_received")
    till.hear()
    return dispute


def blocked(till, order_id):
    return [ticket.blocked_at is not None for ticket in till.tickets(order_id)]


def statuses(till, order_id):
    return [ticket.status for ticket in till.tickets(order_id)]


def let_in(till, order_id):
    """Let one of the order's tickets have been used."""
    with till.sessions.begin() as session:
        ticket = session.scalars(select(Ticket).where(Ticket.order_id == order_id)).first()
        ticket.status, ticket.checked_in_at = TicketStatus.USED, till.now


class TestOpen:
    def test_is_written_down_below_its_charge(self, till, paid, total, disputed):
        (dispute,) = till.disputes(paid)
        assert (dispute.parent_id, dispute.attempt, dispute.idempotency_key) == (
            till.charge(paid).id,
            1,
            f"dispute:{disputed.id}",
        )
        assert (dispute.provider_transaction_id, dispute.amount, dispute.currency) == (disputed.id, total, "EUR")
        assert (dispute.status, dispute.reason) == (AttemptStatus.PROCESSING, "product_not_received")
        assert dispute.raw_reference == {
            "dispute": disputed.id,
            "status": "needs_response",
            "evidence_due_at": disputed.evidence_due_at.isoformat(),
        }

    def test_blocks_the_tickets_and_tells_everybody(self, till, paid, total, caplog):
        till.dispute(paid)
        till.hear()
        assert blocked(till, paid) == [True, True]
        assert till.timeline(paid)[-1] == "payment_disputed"
        order = till.read(paid)
        assert (order.stage, order.payment_status) == (OrderStage.ISSUING, PaymentStatus.COMPLETED)
        with till.sessions() as session:
            (entry,) = session.scalars(select(AuditLog).where(AuditLog.action == "order.dispute"))
        assert (entry.actor_id, entry.entity_id, entry.new_data["amount"]) == (None, paid, total)
        assert [record.levelno for record in caplog.records if "dispute.needs_response" in record.message] == [
            logging.ERROR
        ]

    def test_books_what_was_withdrawn_once(self, till, paid, total, disputed):
        till.hear(till.gateway.add_event("charge.dispute.updated", {"object": "dispute", "id": disputed.id}))
        assert till.ledger(paid)[-1] == ("dispute", -total)
        assert [kind for kind, _ in till.ledger(paid)].count("dispute") == 1
        assert till.read(paid).refunded == total

    def test_an_inquiry_takes_nothing_and_blocks_all_the_same(self, till, paid):
        till.dispute(paid, inquiry=True)
        till.hear()
        assert till.disputes(paid)[0].status is AttemptStatus.PROCESSING
        assert blocked(till, paid) == [True, True]
        assert "dispute" not in dict(till.ledger(paid))
        assert till.read(paid).refunded == 0

    def test_an_inquiry_that_becomes_a_chargeback_is_booked_then(self, till, paid):
        dispute = till.dispute(paid, inquiry=True)
        till.hear()
        till.change_dispute(dispute.id, status="needs_response", amount=1000, withdrawn=1000)
        till.hear(till.gateway.add_event("charge.dispute.funds_withdrawn", {"object": "dispute", "id": dispute.id}))
        assert till.ledger(paid)[-1] == ("dispute", -1000)
        assert till.disputes(paid)[0].amount == 1000
        assert till.timeline(paid).count("payment_disputed") == 1

    def test_a_used_ticket_is_blocked_too_since_its_check_in_may_be_undone(self, till, paid):
        let_in(till, paid)
        till.dispute(paid)
        till.hear()
        assert blocked(till, paid) == [True, True]

    def test_waits_for_its_charge_to_be_settled(self, till):
        order_id = till.hold(quantity=2)
        till.open(order_id)
        till.pay_by_client(order_id)
        dispute = till.dispute(order_id)
        event = till.event(
            {"object": "dispute", "id": dispute.id, "payment_intent": dispute.intent_id}, "charge.dispute.created"
        )
        till.receive(event)
        assert (till.inbox(event).processed_at, till.disputes(order_id)) == (None, [])
        assert till.heard(SettlePayment) == [SettlePayment(order_id)]
        till.settle(order_id)
        till.receive(event)
        assert till.inbox(event).processed_at == till.now
        assert blocked(till, order_id) == [True, True]

    def test_tickets_that_are_issued_later_are_blocked_from_the_start(self, till):
        order_id = till.hold(quantity=2)
        till.open(order_id)
        till.give_up(order_id, OrderReason.BUYER_CANCELLED)
        till.advance(hours=1)
        till.expire()
        till.pay_by_client(order_id)
        till.settle(order_id)
        till.dispute(order_id)
        till.hear()
        assert till.tickets(order_id) == []
        with till.sessions.begin() as session:
            outcomes.confirm(session, lock_order(session, order_id), till.now)
        assert blocked(till, order_id) == [True, True]


class TestRefundsMeanwhile:
    def test_nothing_that_the_bank_has_taken_is_left_to_refund(self, till, paid, disputed):
        assert till.refundable(paid) == 0

    def test_a_part_is_left_when_a_part_is_disputed(self, till, paid, total):
        till.dispute(paid, 1000)
        till.hear()
        assert till.refundable(paid) == total - 1000

    def test_an_inquiry_leaves_all(self, till, paid, total):
        till.dispute(paid, inquiry=True)
        till.hear()
        assert till.refundable(paid) == total

    def test_an_owed_refund_that_comes_too_late_is_not_tried_for_ever(self, till, paid):
        self.cancel_event(till, paid)
        cancelled_events.refund_cancelled_events(till.sessions, till.now, CLOCKS)
        dispute = till.dispute(paid)
        till.hear()
        till.carry_out(till.refunds(paid)[0].id)
        failed, waiting = till.refunds(paid)
        assert (failed.status, failed.error_code) == (AttemptStatus.FAILED, "charge_disputed")
        till.carry_out(waiting.id)
        till.gateway.close_dispute(dispute.id, "lost")
        till.hear()
        till.carry_out(waiting.id)
        assert [refund.error_code for refund in till.refunds(paid)] == ["charge_disputed", "disputed"]
        assert till.gateway.calls.count("refund") == 1

    def test_an_order_of_a_cancelled_event_waits_for_the_bank(self, till, paid, disputed):
        self.cancel_event(till, paid)
        assert cancelled_events.refund_cancelled_events(till.sessions, till.now, CLOCKS) == 0
        till.gateway.close_dispute(disputed.id, "won")
        till.hear()
        assert cancelled_events.refund_cancelled_events(till.sessions, till.now, CLOCKS) == 1
        till.carry_out(till.refunds(paid)[0].id)
        assert till.read(paid).status is OrderStatus.REFUNDED

    def cancel_event(self, till, order_id):
        with till.sessions.begin() as session:
            event = session.get_one(Event, till.read(order_id).event_id)
            event.status, event.cancelled_at = EventStatus.CANCELLED, till.now


class TestWon:
    def test_gives_money_and_tickets_back(self, till, paid, total, disputed, caplog):
        till.gateway.close_dispute(disputed.id, "won")
        till.hear()
        assert till.disputes(paid)[0].status is AttemptStatus.FAILED
        assert till.ledger(paid)[-2:] == [("dispute", -total), ("reversal", total)]
        assert (till.read(paid).refunded, till.read(paid).status) == (0, OrderStatus.CONFIRMED)
        assert blocked(till, paid) == [False, False]
        assert till.timeline(paid)[-1] == "dispute_won"
        assert till.refundable(paid) == total

    def test_the_money_may_come_later_than_the_news(self, till, paid, total, disputed):
        till.change_dispute(disputed.id, status="won")
        till.hear(till.gateway.add_event("charge.dispute.closed", {"object": "dispute", "id": disputed.id}))
        assert till.ledger(paid)[-1] == ("dispute", -total)
        till.change_dispute(disputed.id, withdrawn=0)
        till.hear(till.gateway.add_event("charge.dispute.funds_reinstated", {"object": "dispute", "id": disputed.id}))
        assert till.ledger(paid)[-1] == ("reversal", total)
        assert till.timeline(paid).count("dispute_won") == 1

    def test_an_inquiry_that_comes_to_nothing_moves_no_money(self, till, paid):
        dispute = till.dispute(paid, inquiry=True)
        till.hear()
        before = till.ledger(paid)
        till.gateway.close_dispute(dispute.id, "won")
        till.hear()
        assert till.disputes(paid)[0].status is AttemptStatus.FAILED
        assert blocked(till, paid) == [False, False]
        assert till.ledger(paid) == before

    def test_another_open_dispute_keeps_the_tickets_blocked(self, till, paid):
        first, second = till.dispute(paid, 1000), till.dispute(paid, 500)
        till.hear()
        till.gateway.close_dispute(first.id, "won")
        till.hear()
        assert blocked(till, paid) == [True, True]
        till.gateway.close_dispute(second.id, "won")
        till.hear()
        assert blocked(till, paid) == [False, False]
        assert [dispute.attempt for dispute in till.disputes(paid)] == [1, 2]

    def test_an_order_that_was_ended_by_a_loss_is_refunded_when_it_is_won_after_all(self, till, paid, total, disputed):
        till.gateway.close_dispute(disputed.id, "lost")
        till.hear()
        till.gateway.close_dispute(disputed.id, "won")
        till.hear()
        assert (till.read(paid).payment_status, till.read(paid).refunded) == (PaymentStatus.COMPLETED, 0)
        (refund,) = till.refunds(paid)
        assert (refund.amount, refund.reason) == (total, disputes.DISPUTE_WON)
        assert RefundPayment(refund.id) in till.announced
        till.carry_out(refund.id)
        order = till.read(paid)
        assert (order.status, order.payment_status, order.refunded) == (
            OrderStatus.REFUNDED,
            PaymentStatus.REFUNDED,
            total,
        )
        till.hear(till.gateway.add_event("charge.dispute.updated", {"object": "dispute", "id": disputed.id}))
        assert len(till.refunds(paid)) == 1

    def test_an_order_whose_stock_is_asked_for_again_is_left_to_that(self, till, paid, disputed):
        till.gateway.close_dispute(disputed.id, "lost")
        till.hear()
        with till.sessions.begin() as session:
            session.get_one(Order, paid).hold_expires_at = till.now + timedelta(minutes=2)
        till.gateway.close_dispute(disputed.id, "won")
        till.hear()
        assert till.refunds(paid) == []

    def test_whoever_was_inside_has_had_what_they_paid_for(self, till, paid, disputed):
        let_in(till, paid)
        till.gateway.close_dispute(disputed.id, "lost")
        till.hear()
        till.gateway.close_dispute(disputed.id, "won")
        till.hear()
        assert till.refunds(paid) == []


class TestLost:
    def test_ends_the_order_and_gives_its_seats_back(self, till, paid, total, disputed):
        till.gateway.close_dispute(disputed.id, "lost")
        till.hear()
        order = till.read(paid)
        assert (order.stage, order.status, order.payment_status) == (
            OrderStage.CLOSED,
            OrderStatus.REFUNDED,
            PaymentStatus.REFUNDED,
        )
        assert (order.refunded, order.refunded_at) == (total, till.now)
        assert statuses(till, paid) == [TicketStatus.CANCELLED] * 2
        assert {item.desired_state for item in order.items} == {InventoryState.RELEASED}
        assert set(till.heard(ServeTier)) == {ServeTier(item.tier_id) for item in order.items}
        assert till.disputes(paid)[0].status is AttemptStatus.SUCCEEDED
        assert till.timeline(paid)[-1] == "dispute_lost"

    @pytest.mark.parametrize(("amount", "status"), [(None, "refunded"), (1000, "confirmed")])
    def test_is_told_by_webhook_as_a_refund_is(self, till, paid, amount, status):
        with till.sessions.begin() as session, bound_to(session):
            event = session.get_one(Event, till.read(paid).event_id)
            WebhookEndpointFactory(promoter_id=event.promoter_id)
        dispute = till.dispute(paid, amount)
        till.hear()
        till.gateway.close_dispute(dispute.id, "lost")
        till.hear()
        with till.sessions() as session:
            (told,) = session.scalars(select(WebhookDelivery)).all()
        assert (told.type, told.data["order_id"], told.data["status"]) == ("order.refunded", str(paid), status)

    def test_seats_are_not_free_where_somebody_is_inside(self, till, paid, disputed):
        let_in(till, paid)
        till.gateway.close_dispute(disputed.id, "lost")
        till.hear()
        assert till.read(paid).stage is OrderStage.CLOSED
        (item,) = till.read(paid).items
        assert (item.desired_state, item.desired_returned) == (InventoryState.SOLD, 1)
        assert statuses(till, paid) == [TicketStatus.CANCELLED] * 2

    def test_a_part_is_like_a_part_that_was_refunded(self, till, paid):
        dispute = till.dispute(paid, 1000)
        till.hear()
        assert blocked(till, paid) == [True, True]
        till.gateway.close_dispute(dispute.id, "lost")
        till.hear()
        order = till.read(paid)
        assert (order.status, order.payment_status, order.refunded) == (
            OrderStatus.CONFIRMED,
            PaymentStatus.COMPLETED,
            1000,
        )
        assert blocked(till, paid) == [False, False]

    def test_what_was_refunded_and_what_was_lost_make_the_whole(self, till, paid, total):
        till.refund(paid, 1000)
        dispute = till.dispute(paid)
        till.hear()
        till.gateway.close_dispute(dispute.id, "lost")
        till.hear()
        assert ("dispute", 1000 - total) in till.ledger(paid)
        assert till.read(paid).status is OrderStatus.REFUNDED

    def test_more_than_was_paid_counts_as_all(self, till, paid, total):
        till.refund(paid, 1000)
        dispute = till.dispute(paid, total)
        till.hear()
        till.gateway.close_dispute(dispute.id, "lost")
        till.hear()
        assert till.ledger(paid)[-1] == ("dispute", -total)
        assert till.read(paid).refunded == total

    def test_the_order_ends_when_the_money_goes_though_the_news_came_before(self, till, paid, total):
        dispute = till.dispute(paid)
        till.change_dispute(dispute.id, status="lost", withdrawn=0)
        till.hear()
        assert till.read(paid).status is OrderStatus.CONFIRMED
        till.change_dispute(dispute.id, withdrawn=total)
        till.hear(till.gateway.add_event("charge.dispute.funds_withdrawn", {"object": "dispute", "id": dispute.id}))
        assert till.read(paid).status is OrderStatus.REFUNDED

    def test_money_that_comes_back_all_the_same_goes_to_the_buyer(self, till, paid, total, disputed):
        till.gateway.close_dispute(disputed.id, "lost")
        till.hear()
        till.change_dispute(disputed.id, withdrawn=0)
        till.hear(till.gateway.add_event("charge.dispute.funds_reinstated", {"object": "dispute", "id": disputed.id}))
        assert till.ledger(paid)[-1] == ("reversal", total)
        assert [refund.amount for refund in till.refunds(paid)] == [total]

    def test_an_order_that_had_ended_anyway_only_takes_note(self, till, paid, total, disputed):
        with till.sessions.begin() as session:
            order = session.get_one(Order, paid)
            order.stage, order.status, order.reason = (
                OrderStage.CLOSED,
                OrderStatus.CANCELLED,
                OrderReason.EVENT_CANCELLED,
            )
        till.gateway.close_dispute(disputed.id, "lost")
        till.hear()
        assert (till.read(paid).status, till.read(paid).payment_status) == (
            OrderStatus.REFUNDED,
            PaymentStatus.REFUNDED,
        )
        assert till.timeline(paid)[-1] == "dispute_lost"


class TestOrder:
    """Of the news, whatever it is."""

    @pytest.mark.parametrize(
        ("closed", "late"),
        [
            ("won", "needs_response"),
            ("warning_closed", "warning_needs_response"),
            ("prevented", "under_review"),
            ("lost", "under_review"),
            ("won", "lost"),
            ("lost", "warning_closed"),
        ],
    )
    def test_what_was_closed_stays_closed(self, till, paid, total, disputed, closed, late):
        till.change_dispute(disputed.id, status=closed, withdrawn=total if closed == "lost" else 0)
        till.hear(till.gateway.add_event("charge.dispute.closed", {"object": "dispute", "id": disputed.id}))
        before = (till.read(paid).version, till.ledger(paid), till.timeline(paid), till.disputes(paid)[0].status)
        till.change_dispute(disputed.id, status=late, withdrawn=total)
        till.hear(till.gateway.add_event("charge.dispute.updated", {"object": "dispute", "id": disputed.id}))
        after = (till.read(paid).version, till.ledger(paid), till.timeline(paid), till.disputes(paid)[0].status)
        assert after == before

    def test_a_reading_from_before_the_withdrawal_takes_nothing_back(self, till, paid, total, disputed):
        till.change_dispute(disputed.id, withdrawn=0)
        till.hear(till.gateway.add_event("charge.dispute.updated", {"object": "dispute", "id": disputed.id}))
        assert till.ledger(paid)[-1] == ("dispute", -total)

    def test_a_reading_from_before_the_reinstatement_takes_nothing_away(self, till, paid, total):
        dispute = till.dispute(paid)
        till.change_dispute(dispute.id, status="won", withdrawn=0)
        till.hear()
        before = till.ledger(paid)
        till.change_dispute(dispute.id, withdrawn=total)
        till.hear(till.gateway.add_event("charge.dispute.updated", {"object": "dispute", "id": dispute.id}))
        assert till.ledger(paid) == before

    def test_doubled_and_reversed_events_make_one_story(self, till, paid, total):
        dispute = till.dispute(paid)
        till.gateway.close_dispute(dispute.id, "won")
        till.gateway.events.reverse()
        till.hear()
        till.hear()
        assert len(till.disputes(paid)) == 1
        assert blocked(till, paid) == [False, False]
        assert sum(amount for kind, amount in till.ledger(paid) if kind in {"dispute", "reversal"}) == 0

    def test_one_of_another_currency_is_for_a_person(self, till, paid, caplog):
        dispute = till.dispute(paid)
        till.change_dispute(dispute.id, currency="USD")
        till.hear()
        assert till.disputes(paid) == []
        assert "dispute.mismatch" in caplog.text

    def test_one_of_a_charge_that_is_not_ours_is_kept_and_moves_nothing(self, till, paid, disputed, gateway):
        till.change_dispute(disputed.id, intent_id="pi_elsewhere")
        event = till.event({"object": "dispute", "id": disputed.id}, "charge.dispute.updated")
        gateway.disputes["du_other"] = gateway.disputes[disputed.id]
        other = till.event(
            {"object": "dispute", "id": "du_other", "payment_intent": till.charge(paid).provider_transaction_id},
            "charge.dispute.created",
        )
        before = till.ledger(paid)
        for each in (event, other):
            till.receive(each)
            assert till.inbox(each).processed_at is None
            assert till.inbox(each).error
        assert till.ledger(paid) == before


class TestRaces:
    @pytest.fixture
    def till(self, busy_till):
        return busy_till

    def test_workers_at_once_write_one_dispute_down_once(self, till, paid, total):
        dispute = till.dispute(paid)
        subject = {"object": "dispute", "id": dispute.id, "payment_intent": dispute.intent_id}
        heard = [till.event(subject, "charge.dispute.created") for _ in range(4)]
        barrier = Barrier(4)

        def receive(event):
            barrier.wait(timeout=10)
            till.receive(event)

        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(receive, event) for event in heard]:
                future.result(timeout=30)
        assert len(till.disputes(paid)) == 1
        assert [entry for entry in till.ledger(paid) if entry[0] == "dispute"] == [("dispute", -total)]
        assert till.timeline(paid).count("payment_disputed") == 1


class TestFollow:
    def test_without_any_webhook_the_outcome_is_seen(self, till, paid, disputed):
        till.gateway.close_dispute(disputed.id, "lost")
        till.follow(till.disputes(paid)[0])
        assert till.read(paid).status is OrderStatus.REFUNDED

    def test_trouble_leaves_it_for_later(self, till, paid, disputed, gateway):
        gateway.fail("find_dispute", DOWN)
        till.follow(till.disputes(paid)[0])
        assert till.disputes(paid)[0].status is AttemptStatus.PROCESSING

    def test_one_that_is_closed_is_read_no_more(self, till, paid, disputed, gateway):
        till.gateway.close_dispute(disputed.id, "won")
        till.hear()
        asked = gateway.calls.count("find_dispute")
        till.follow(till.disputes(paid)[0])
        till.follow(till.charge(paid))
        assert gateway.calls.count("find_dispute") == asked

    def test_it_is_rung_once_an_hour_while_it_is_open(self, till, paid, disputed):
        (dispute,) = till.disputes(paid)
        assert self.stalled(till, till.now + timedelta(minutes=50)) == []
        assert self.stalled(till, till.now + timedelta(minutes=70)) == [FollowDispute(dispute.id)]
        till.gateway.close_dispute(disputed.id, "won")
        till.hear()
        assert self.stalled(till, till.now + timedelta(minutes=70)) == []

    def stalled(self, till, before):
        with till.sessions() as session:
            return disputes.stalled(session, before)


class TestList:
    def test_shows_the_promoter_what_is_disputed_and_blocked(self, till, paid, disputed):
        with till.sessions() as session:
            event = session.get_one(Event, till.read(paid).event_id, options=[joinedload(Event.promoter)])
            promoter = Actor(event.promoter.user_id, UserRole.PROMOTER)
            rows = disputes.list_disputes(session, promoter, event.id, limit=10, before=None)
            assert [(row.order.number, count) for row, count in rows] == [(till.read(paid).number, 2)]

    def test_pages_and_keeps_other_events_out(self, till, paid):
        till.dispute(paid, 100)
        till.dispute(paid, 200)
        till.dispute(till.paid())
        till.hear()
        with till.sessions() as session:
            event = session.get_one(Event, till.read(paid).event_id)
            admin = Actor(role=UserRole.ADMIN)
            first = disputes.list_disputes(session, admin, event.id, limit=1, before=None)
            assert [dispute.amount for dispute, _ in first] == [200, 100]
            rest = disputes.list_disputes(session, admin, event.id, limit=1, before=first[0][0].id)
            assert [dispute.amount for dispute, _ in rest] == [100]

    def test_is_nobody_elses(self, till, paid):
        with till.sessions.begin() as session, bound_to(session):
            event = session.get_one(Event, till.read(paid).event_id)
            stranger = Actor(UserFactory().id, UserRole.PROMOTER)
            with pytest.raises(ForbiddenError):
                disputes.list_disputes(session, stranger, event.id, limit=10, before=None)
            event.is_private = True
            session.flush()
            with pytest.raises(NotFoundError):
                disputes.list_disputes(session, stranger, event.id, limit=10, before=None)
