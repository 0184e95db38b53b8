from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from domain.errors import RetryableVendorError
from domain.models import PaymentTransaction, WebhookEvent
from domain.payments import attempts, events, reconciliation
from domain.payments.pauses import SPREAD

DOWN = RetryableVendorError("Stripe is left alone for a moment.", code="circuit_open", retry_after=5)
LONGEST = reconciliation.LONGEST_PAUSE


@pytest.fixture
def failed(till, gateway):
    """Return orders that failed in one moment: their rows have the same times, by the database's clock."""

    def fail(number, age):
        orders = [till.hold() for _ in range(number)]
        for order_id in orders:
            gateway.fail("open_intent", DOWN)
            till.open(order_id)
        with till.sessions.begin() as session:
            session.execute(
                update(PaymentTransaction)
                .where(PaymentTransaction.order_id.in_(orders))
                .values(created_at=func.now() - age)
            )
        return orders

    return fail


def pauses(till):
    with till.sessions() as session:
        due = select(PaymentTransaction.order_id, attempts.due(LONGEST) - PaymentTransaction.updated_at)
        return dict(session.execute(due).all())


class TestSpread:
    @pytest.mark.parametrize(
        ("age", "meant"),
        [(timedelta(0), attempts.FIRST_PAUSE), (timedelta(seconds=8), timedelta(seconds=8)), (LONGEST * 9, LONGEST)],
    )
    def test_what_failed_together_comes_back_one_by_one_and_within_bounds(self, till, failed, age, meant):
        orders = failed(40, age)
        drawn = pauses(till)
        mine = sorted(drawn[order_id] for order_id in orders)
        assert len(set(mine)) > 30
        assert meant * (1 - SPREAD) <= mine[0] <= meant * 0.9
        assert meant * 1.1 <= mine[-1] <= meant * (1 + SPREAD)

    def test_the_sweep_does_not_ring_for_all_of_them_at_once(self, till, failed):
        orders = failed(40, LONGEST * 9)
        with till.sessions() as session:
            rung = [
                len(reconciliation.stalled(session, till.now + LONGEST * part)) for part in (0.7, 0.9, 1.0, 1.1, 1.3)
            ]
        assert rung[0] == 0
        assert rung == sorted(set(rung))
        assert rung[-1] == len(orders)

    def test_the_pause_is_the_same_however_often_it_is_asked_for_and_another_after_the_next_try(self, busy_till):
        order_id = busy_till.hold()
        for _ in range(2):
            busy_till.gateway.fail("open_intent", DOWN)
        busy_till.open(order_id)
        first = pauses(busy_till)[order_id]
        assert pauses(busy_till)[order_id] == first
        busy_till.open(order_id)
        assert pauses(busy_till)[order_id] != first

    def test_events_are_spread_too(self, till):
        ids = [till.event({"object": "payment_intent", "id": f"pi_{number}"}) for number in range(40)]
        with till.sessions.begin() as session:
            session.execute(update(WebhookEvent).values(received_at=till.now, attempts=5))
        meant = timedelta(seconds=events.FIRST_PAUSE_SECONDS * 2**5)
        with till.sessions() as session:
            rung = [len(events.stalled(session, till.now + meant * part)) for part in (0.7, 0.9, 1.0, 1.1, 1.3)]
        assert rung[0] == 0
        assert rung == sorted(set(rung))
        assert rung[-1] == len(ids)
