from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select

from domain.audit import Actor
from domain.errors import ConflictError, InvalidError, PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.messages import RefundPayment
from domain.models import AuditLog
from domain.ports import STORED_ERROR
from domain.rules.states import (
    AttemptStatus,
    UserRole,
)
from tests.factories import UserFactory

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")
CUT = UnknownOutcomeError("Stripe did not answer.", code="connection")
STORED = UnknownOutcomeError("An error occurred.", code=STORED_ERROR)
REFUSED = PermanentVendorError("Not enough money.", code="balance_insufficient")


@pytest.fixture
def paid(till):
    return till.sold(quantity=2)


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
            entry = session.scalars(select(AuditLog).where(AuditLog.action == "order.refund")).one()
        assert (entry.entity_id, entry.actor_id, entry.new_data["amount"]) == (paid, admin.user_id, 500)

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
