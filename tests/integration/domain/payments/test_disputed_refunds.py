from datetime import timedelta

import pytest

from domain.errors import PermanentVendorError
from domain.models import Order, PaymentTransaction
from domain.payments import refunds
from domain.rules.states import AttemptStatus, OrderStatus, TicketStatus

DISPUTED = PermanentVendorError("It has been charged back.", code="charge_disputed")


@pytest.fixture
def paid(till):
    return till.paid(quantity=2)


@pytest.fixture
def refused(till, paid, gateway):
    """Return an order of which a ticket is to be refunded, which a dispute forbids."""
    gateway.fail("refund", DISPUTED)
    till.refund(paid, tickets=till.tickets(paid)[:1])
    return paid


def dispute(till, order_id, status=AttemptStatus.PROCESSING, amount=None):
    """Let the bank take the money, and decide."""
    dispute_id = till.dispute(order_id, amount).id
    till.hear()
    return end(till, dispute_id, status)


def end(till, dispute_id, status):
    if status is not AttemptStatus.PROCESSING:
        till.gateway.close_dispute(dispute_id, "lost" if status is AttemptStatus.SUCCEEDED else "won")
        till.hear()
    return dispute_id


@pytest.mark.parametrize(
    ("status", "is_left"),
    [(AttemptStatus.PROCESSING, False), (AttemptStatus.SUCCEEDED, False), (AttemptStatus.FAILED, True)],
)
def test_what_is_disputed_or_lost_cannot_be_refunded(till, paid, status, is_left):
    dispute(till, paid, status)
    assert till.refundable(paid) == (till.read(paid).total if is_left else 0)


def test_an_inquiry_does_not_keep_a_refund_from_being_tried(till, paid):
    refund_id = till.request_refund(paid)
    till.dispute(paid, inquiry=True)
    till.hear()
    till.carry_out(refund_id)
    assert till.read(paid).status is OrderStatus.REFUNDED


def test_one_that_was_refused_waits_without_calling_while_the_dispute_is_open(till, refused, gateway):
    dispute(till, refused)
    first, second = till.refunds(refused)
    assert (first.error_code, second.error_code, second.status) == ("charge_disputed", "charge_disputed", "created")
    for _ in range(3):
        till.advance(days=1)
        till.carry_out(second.id)
    assert (gateway.calls.count("refund"), len(till.refunds(refused))) == (1, 2)
    with till.sessions() as session:
        assert refunds.stalled(session, till.now + timedelta(hours=1)) != []


def test_after_a_dispute_that_was_won_it_is_made(till, refused):
    dispute_id = dispute(till, refused)
    end(till, dispute_id, AttemptStatus.FAILED)
    till.carry_out(till.refunds(refused)[-1].id)
    assert till.read(refused).refunded == till.refunds(refused)[-1].amount
    assert till.tickets(refused)[0].status is TicketStatus.REFUNDED


def test_after_one_that_was_lost_nothing_is_owed(till, refused, gateway):
    end(till, dispute(till, refused), AttemptStatus.SUCCEEDED)
    till.carry_out(till.refunds(refused)[-1].id)
    assert [(refund.status, refund.error_code) for refund in till.refunds(refused)] == [
        (AttemptStatus.FAILED, "charge_disputed"),
        (AttemptStatus.FAILED, "disputed"),
    ]
    assert gateway.calls.count("refund") == 1
    assert [ticket.status for ticket in till.tickets(refused)] == [TicketStatus.CANCELLED] * 2
    assert till.timeline(refused)[-1] == "refund_left_to_bank"


def test_a_part_that_the_bank_left_is_still_owed(till, paid, gateway):
    total = till.read(paid).total
    with till.sessions.begin() as session:
        order, charge = session.get_one(Order, paid), session.get_one(PaymentTransaction, till.charge(paid).id)
        refunds.give_back(session, order, charge, "event_cancelled", till.now)
    gateway.fail("refund", DISPUTED)
    till.carry_out(till.refunds(paid)[-1].id)
    dispute(till, paid, AttemptStatus.SUCCEEDED, amount=1000)
    till.carry_out(till.refunds(paid)[-1].id)
    rest = till.refunds(paid)[-1]
    assert (rest.amount, rest.status) == (total - 1000, AttemptStatus.CREATED)
    till.gateway.disputes.clear()  # the provider lets go of the rest
    till.carry_out(rest.id)
    assert till.read(paid).refunded == total
    assert till.read(paid).status is OrderStatus.REFUNDED
    assert [ticket.status for ticket in till.tickets(paid)] == [TicketStatus.REFUNDED] * 2
