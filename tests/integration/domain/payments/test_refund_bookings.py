"""Refunds that come back: what they moved stays with the promoter, and what follows is paid from there."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from domain.rules.states import AttemptStatus, OrderStage, OrderStatus, PaymentStatus


@pytest.fixture
def paid(till):
    return till.sold(quantity=2)


@pytest.fixture
def asked(gateway, monkeypatch):
    """Return a list that grows with every refund that the gateway is asked for."""
    requests, refund = [], gateway.refund
    monkeypatch.setattr(gateway, "refund", lambda request, key: requests.append(request) or refund(request, key))
    return requests


def bounce(till, order_id, status="failed"):
    """Let the order's last refund fail after it had succeeded, and its event arrive twice."""
    refund = till.refunds(order_id)[-1]
    made = till.gateway.refunds[refund.provider_transaction_id]
    till.gateway.refunds[made.id] = replace(made, status=status, failure_reason="lost_or_stolen_card")
    for _ in range(2):
        till.receive(till.event({"object": "refund", "id": made.id}, "refund.failed"))
    return refund


def fees(till, order_id):
    return sum(amount for kind, amount in till.ledger(order_id) if kind == "fee")


def balance(till, order_id):
    kept = text("SELECT charged - refunded - disputed FROM order_balance WHERE order_id = :order_id")
    with till.sessions() as session:
        return session.scalar(kept, {"order_id": order_id})


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_part_is_booked_back_and_shown(till, paid, status, caplog):
    till.refund(paid, 1000)
    refund = bounce(till, paid, status)
    assert "refund.came_back" in caplog.text
    order = till.read(paid)
    assert (order.stage, order.payment_status, order.refunded) == (
        OrderStage.ISSUING,
        PaymentStatus.COMPLETED,
        0,
    )
    (refund,) = till.refunds(paid)
    assert (refund.status, refund.error_code) == (AttemptStatus.FAILED, "lost_or_stolen_card")
    assert ("reversal", 1000) in till.ledger(paid)
    assert till.timeline(paid)[-2:] == ["refunded", "refund_failed"]
    assert till.refundable(paid) == order.total


def test_the_whole_is_owed_since_the_tickets_are_gone(till, paid):
    till.refund(paid)
    bounce(till, paid)
    order = till.read(paid)
    assert (order.stage, order.payment_status, order.refunded, order.refunded_at) == (
        OrderStage.CLOSED,
        PaymentStatus.COMPLETED,
        0,
        None,
    )
    assert till.timeline(paid)[-1] == "refund_failed"
    first, second = till.refunds(paid)
    assert (second.status, second.amount, second.created_at) == (
        AttemptStatus.CREATED,
        order.total,
        first.created_at,
    )
    till.carry_out(second.id)
    order = till.read(paid)
    assert (order.status, order.payment_status, order.refunded) == (
        OrderStatus.REFUNDED,
        PaymentStatus.REFUNDED,
        order.total,
    )
    assert sum(amount for _, amount in till.ledger(paid)) == 0


def test_the_promoters_account_pays_once(till, paid, asked):
    till.refund(paid)
    for _ in range(2):
        bounce(till, paid)
        assert fees(till, paid) == 0
        till.carry_out(till.refunds(paid)[-1].id)
    assert [(request.reverse_transfer, request.refund_application_fee) for request in asked] == [
        (True, True),
        (False, False),
        (False, False),
    ]
    assert sum(amount for _, amount in till.ledger(paid)) == fees(till, paid) == 0


def test_a_new_refund_is_paid_from_what_came_back_as_far_as_that_goes(till, paid, asked, gateway):
    till.refund(paid, 1000)
    bounce(till, paid)
    for amount in (600, 400, 1):
        till.refund(paid, amount)
    assert [request.reverse_transfer for request in asked] == [True, False, False, True]
    till.refund(paid)
    kept = gateway.find_charge(till.charge(paid).provider_transaction_id)
    assert (kept.amount - kept.refunded, kept.fee, fees(till, paid)) == (0, 0, 0)


def test_the_balance_says_what_is_kept(till, paid):
    till.refund(paid)
    assert balance(till, paid) == 0
    bounce(till, paid)
    assert balance(till, paid) == till.read(paid).total


def test_another_refunds_failure_is_not_believed(till, paid, gateway):
    till.refund(paid, 1000)
    refund = till.refunds(paid)[0]
    gateway.refunds[refund.provider_transaction_id] = replace(
        gateway.refunds[refund.provider_transaction_id], amount=1, status="failed"
    )
    till.receive(till.event({"object": "refund", "id": refund.provider_transaction_id}, "refund.failed"))
    assert till.refunds(paid)[0].error_code == "mismatch"
    assert till.read(paid).refunded == 1000
