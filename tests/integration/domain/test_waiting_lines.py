from datetime import UTC, datetime, timedelta

import pytest

from domain import allocation, storefront, tier_work, waitlist
from domain.audit import Actor
from domain.errors import ConflictError
from domain.rules.states import EventStatus, OrderStage, UserRole, WaitlistStatus
from tests.factories.accounts import UserFactory
from tests.factories.base import bound_to
from tests.factories.catalog import EventFactory, TicketTierFactory
from tests.factories.orders import OrderFactory
from tests.factories.waitlist import WaitlistFactory
from tests.integration.market import CLOCKS

NOW = datetime.now(UTC)
BATCH = 3


@pytest.fixture(autouse=True)
def _rows(session):
    with bound_to(session):
        yield


def serve_until_nothing_moves(session, tier, rounds=5):
    for _ in range(rounds):
        outcome = allocation.serve(session, tier.id, NOW, CLOCKS, batch=BATCH)
        session.commit()
        if not outcome.more:
            return
    pytest.fail("the tier has always more to do")


class TestWholeBatchesThatCannotBeServed:
    def test_a_group_that_holds_the_line_does_not_hold_the_refusals_behind_it(self, session):
        tier = TicketTierFactory(quantity=1, event=EventFactory(skips_large_groups=False))
        for _ in range(BATCH):
            WaitlistFactory(tier=tier, event=tier.event, quantity=2)
        order = OrderFactory(tier=tier)
        serve_until_nothing_moves(session, tier)
        session.refresh(order)
        assert order.stage is OrderStage.CLOSED

    def test_people_at_their_limit_stop_nobody(self, session):
        tier = TicketTierFactory(quantity=10, max_per_person=1)
        for _ in range(BATCH):
            person = UserFactory()
            OrderFactory(tier=tier, user=person, stage=OrderStage.COMPLETE)
            WaitlistFactory(tier=tier, event=tier.event, user=person)
        order = OrderFactory(tier=tier)
        serve_until_nothing_moves(session, tier)
        session.refresh(order)
        assert order.stage is OrderStage.HELD


class TestPeopleAtTheirLimit:
    @pytest.fixture
    def tier(self):
        return TicketTierFactory(quantity=4, max_per_person=2)

    @pytest.fixture
    def person(self, tier):
        person = UserFactory()
        OrderFactory(tier=tier, user=person, quantity=2, stage=OrderStage.COMPLETE)
        return person

    def test_take_no_seats_off_sale(self, session, tier, person):
        WaitlistFactory(tier=tier, event=tier.event, user=person, quantity=2)
        assert storefront.read_offers(session, [tier.id])[tier.id].available == 2

    def test_cannot_join_the_line(self, session, tier, person):
        OrderFactory(tier=tier, quantity=2, stage=OrderStage.HELD)
        with pytest.raises(ConflictError) as refusal:
            waitlist.join(session, Actor(person.id, UserRole.USER), tier.event_id, tier.id, 1, NOW)
        assert refusal.value.code == "limit-exceeded"


class TestEntriesThatNobodyCanServe:
    @pytest.mark.parametrize("status", [EventStatus.COMPLETED, EventStatus.CANCELLED])
    @pytest.mark.parametrize("is_paused", [True, False])
    def test_end_with_their_event(self, session, status, is_paused):
        tier = TicketTierFactory(quantity=0, event=EventFactory(status=status), is_paused=is_paused)
        entry = WaitlistFactory(tier=tier, event=tier.event)
        assert tier.id in tier_work.find_wanted(session)
        assert [row.tier_id for row in tier_work.find(session, [tier.id])] == [tier.id]
        serve_until_nothing_moves(session, tier)
        session.refresh(entry)
        assert (entry.status, entry.unoffered_reason) == (WaitlistStatus.EXPIRED, f"the event is {status}")

    def test_end_with_the_sale(self, session):
        tier = TicketTierFactory(quantity=0, sale_starts_at=None, sale_ends_at=NOW - timedelta(hours=1))
        entry = WaitlistFactory(tier=tier, event=tier.event)
        assert [row.tier_id for row in tier_work.find(session, [tier.id])] == [tier.id]
        serve_until_nothing_moves(session, tier)
        session.refresh(entry)
        assert entry.status is WaitlistStatus.EXPIRED


def test_an_accepted_offer_of_a_tier_that_requires_approval_waits_for_it(session, announced):
    tier = TicketTierFactory(quantity=1, requires_approval=True)
    entry = WaitlistFactory(tier=tier, event=tier.event)
    serve_until_nothing_moves(session, tier)
    session.refresh(entry)
    waitlist.accept(session, entry.id, Actor(entry.user_id, UserRole.USER), CLOCKS, NOW)
    order = entry.offered_order_id and session.get_one(waitlist.Order, entry.offered_order_id)
    assert order.stage is OrderStage.AWAITING_APPROVAL
    assert order.hold_expires_at == NOW + timedelta(seconds=CLOCKS.approval_seconds)
