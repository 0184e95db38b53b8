from dataclasses import replace

import pytest
from sqlalchemy import select

from domain.errors import UnknownOutcomeError
from domain.models import AuditLog
from domain.payments.foreign_refunds import REASON
from domain.ports import Refund
from domain.rules.states import (
    AttemptStatus,
    InventoryState,
    OrderReason,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    TicketStatus,
)

CUT = UnknownOutcomeError("Stripe did not answer.", code="connection")


@pytest.fixture
def paid(till):
    return till.sold(quantity=2)


@pytest.fixture
def total(till, paid):
    return till.read(paid).total


def refund_at_the_provider(till, order_id, amount, status="succeeded", refund_id="re_person"):
    """Let a person refund in Stripe's dashboard."""
    charge = till.charge(order_id)
    till.gateway.refunds[refund_id] = Refund(refund_id, status, amount, charge.currency, charge.provider_transaction_id)
    return tell(till, order_id, refund_id)


def tell(till, order_id, refund_id="re_person", kind="refund.created"):
    """Let the webhook say that something happened to a refund."""
    intent_id = till.charge(order_id).provider_transaction_id
    subject = {"object": "refund", "id": refund_id, "payment_intent": intent_id, "metadata": {}}
    event = till.event(subject, kind)
    till.receive(event)
    return event


def change(till, **values):
    till.gateway.refunds["re_person"] = replace(till.gateway.refunds["re_person"], **values)


def test_a_part_is_booked_and_shown(till, paid, caplog):
    event = refund_at_the_provider(till, paid, 1000)
    assert till.inbox(event).processed_at == till.now
    (refund,) = till.refunds(paid)
    assert (refund.status, refund.amount, refund.reason) == (AttemptStatus.SUCCEEDED, 1000, REASON)
    assert (refund.provider_transaction_id, refund.parent_id) == ("re_person", till.charge(paid).id)
    assert ("refund", -1000) in till.ledger(paid)
    assert (till.read(paid).refunded, till.read(paid).status) == (1000, OrderStatus.CONFIRMED)
    assert till.timeline(paid)[-1] == "refunded"
    assert "refund.foreign" in caplog.text
    with till.sessions() as session:
        (entry,) = session.scalars(select(AuditLog).where(AuditLog.action == "order.refund"))
    assert (entry.actor_id, entry.new_data) == (None, {"amount": 1000, "reason": REASON, "refund": "re_person"})


def test_the_whole_ends_the_order(till, paid, total):
    refund_at_the_provider(till, paid, total)
    order = till.read(paid)
    assert (order.stage, order.status, order.payment_status) == (
        OrderStage.CLOSED,
        OrderStatus.REFUNDED,
        PaymentStatus.REFUNDED,
    )
    assert [ticket.status for ticket in till.tickets(paid)] == [TicketStatus.REFUNDED] * 2
    assert {item.desired_state for item in order.items} == {InventoryState.RELEASED}


def test_heard_twice_it_is_one(till, paid):
    refund_at_the_provider(till, paid, 1000)
    tell(till, paid, kind="refund.updated")
    assert len(till.refunds(paid)) == 1
    assert till.read(paid).refunded == 1000


def test_what_is_left_can_still_be_refunded_by_us(till, paid, total):
    refund_at_the_provider(till, paid, 1000)
    assert till.refundable(paid) == total - 1000
    till.refund(paid)
    assert till.read(paid).status is OrderStatus.REFUNDED


def test_one_that_is_pending_is_followed_like_ours(till, paid):
    refund_at_the_provider(till, paid, 1000, "pending")
    (refund,) = till.refunds(paid)
    assert refund.status is AttemptStatus.PROCESSING
    assert till.read(paid).refunded == 0
    change(till, status="succeeded")
    till.carry_out(refund.id)
    assert till.read(paid).refunded == 1000


def test_one_that_failed_before_we_heard_of_it_is_none(till, paid):
    event = refund_at_the_provider(till, paid, 1000, "failed")
    assert till.inbox(event).processed_at == till.now
    assert till.refunds(paid) == []


def test_one_that_fails_after_it_had_succeeded_is_made_again_by_us_if_no_tickets_are_left(till, paid, total):
    refund_at_the_provider(till, paid, total)
    change(till, status="failed", failure_reason="expired_or_canceled_card")
    tell(till, paid, kind="refund.failed")
    assert ("reversal", total) in till.ledger(paid)
    failed, follower = till.refunds(paid)
    assert (failed.status, follower.status, follower.amount) == (AttemptStatus.FAILED, AttemptStatus.CREATED, total)


def test_while_a_refund_of_ours_waits_for_its_answer_it_may_be_that_one(till, paid, gateway):
    refund_id = till.request_refund(paid, 700)
    gateway.fail("refund", CUT, after=True)
    till.carry_out(refund_id)
    (made,) = gateway.refunds
    # As if somebody had taken our reference out of its metadata.
    event = tell(till, paid, made)
    assert till.inbox(event).processed_at is None
    assert till.inbox(event).error
    till.carry_out(refund_id)
    till.receive(event)
    assert till.inbox(event).processed_at == till.now
    assert [refund.id for refund in till.refunds(paid)] == [refund_id]
    assert till.read(paid).refunded == 700


def test_a_refund_of_ours_that_was_not_asked_for_yet_hinders_nothing(till, paid):
    till.request_refund(paid, 700)
    refund_at_the_provider(till, paid, 1000)
    assert till.read(paid).refunded == 1000


def test_an_owed_refund_that_a_person_was_faster_with_is_not_tried_for_ever(till):
    order_id = till.hold()
    till.open(order_id)
    till.give_up(order_id, OrderReason.BUYER_CANCELLED)
    till.advance(hours=1)
    till.expire()
    till.pay_by_client(order_id)
    till.settle(order_id)
    (ours,) = till.refunds(order_id)
    refund_at_the_provider(till, order_id, till.read(order_id).total)
    till.carry_out(ours.id)
    assert [refund.status for refund in till.refunds(order_id)] == [AttemptStatus.FAILED, AttemptStatus.SUCCEEDED]
    assert till.read(order_id).status is OrderStatus.REFUNDED


def test_one_of_a_charge_that_is_not_ours_is_kept_and_moves_nothing(till, paid):
    refund_at_the_provider(till, paid, 1000)
    till.gateway.refunds["re_other"] = replace(till.gateway.refunds["re_person"], id="re_other", intent_id="pi_other")
    event = tell(till, paid, "re_other")
    assert till.inbox(event).processed_at is None
    assert len(till.refunds(paid)) == 1
