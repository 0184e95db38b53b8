from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from domain import allocation
from domain.messages import NotifyOffer, OpenPayment, ServeTier
from domain.models import Order, OrderItem, TicketTier, TimelineEntry, Waitlist
from domain.rules.states import (
    EventStatus,
    InventoryState,
    OrderReason,
    OrderSource,
    OrderStage,
    OrderStatus,
    WaitlistStatus,
)
from tests.factories.accounts import UserFactory
from tests.factories.base import bound_to
from tests.factories.catalog import EventFactory, TicketTierFactory
from tests.factories.orders import OrderFactory
from tests.factories.waitlist import WaitlistFactory
from tests.integration.market import CLOCKS

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _rows(session):
    with bound_to(session):
        yield


def serve(session, tier, *, batch=100):
    outcome = allocation.serve(session, tier.id, NOW, CLOCKS, batch=batch)
    session.commit()
    return outcome


def stages(session, *orders):
    session.expire_all()
    return [order.stage for order in orders]


def counters(session, tier):
    session.refresh(tier)
    return tier.reserved, tier.sold


def test_serves_the_line_in_sequence_until_the_stock_ends(session, announced):
    tier = TicketTierFactory(quantity=3)
    late, early, middle = (OrderFactory(tier=tier, quantity=n, sequence=s) for n, s in ((1, 30), (2, 10), (2, 20)))

    outcome = serve(session, tier)

    assert (outcome.served, outcome.refused) == (2, 1)
    assert stages(session, early, middle, late) == [OrderStage.HELD, OrderStage.CLOSED, OrderStage.HELD]
    assert middle.status is OrderStatus.CANCELLED
    assert middle.reason is OrderReason.SOLD_OUT
    assert counters(session, tier) == (3, 0)
    assert {m.order_id for m in announced if isinstance(m, OpenPayment)} == {early.id, late.id}


def test_held_orders_get_the_clock_and_a_line_in_their_timeline(session):
    order = OrderFactory()
    serve(session, order.items[0].tier)
    session.refresh(order)
    assert order.hold_expires_at == order.hold_limit_at == NOW + timedelta(seconds=1200)
    assert order.held_at == NOW
    assert "held" in session.scalars(select(TimelineEntry.kind).where(TimelineEntry.order_id == order.id)).all()


def test_serving_again_changes_nothing(session):
    order = OrderFactory()
    tier = order.items[0].tier
    serve(session, tier)
    session.refresh(order)
    version = order.version
    outcome = serve(session, tier)
    session.refresh(order)
    assert (outcome.decided, outcome.more) == (0, False)
    assert order.version == version
    assert counters(session, tier) == (1, 0)


def test_batches_carry_on_where_the_last_one_ended(session):
    tier = TicketTierFactory(quantity=5)
    orders = [OrderFactory(tier=tier) for _ in range(7)]
    assert serve(session, tier, batch=3).more
    assert serve(session, tier, batch=3).more
    assert not serve(session, tier, batch=3).more
    assert stages(session, *orders) == [OrderStage.HELD] * 5 + [OrderStage.CLOSED] * 2


def test_a_line_of_just_one_batch_leaves_nothing_for_a_second_one(session):
    tier = TicketTierFactory()
    orders = [OrderFactory(tier=tier) for _ in range(3)]
    outcome = serve(session, tier, batch=3)
    assert (outcome.served, outcome.more) == (3, False)
    assert set(stages(session, *orders)) == {OrderStage.HELD}


@pytest.mark.parametrize(("batch", "stage"), [(1, OrderStage.QUEUED), (2, OrderStage.HELD)])
def test_nobody_in_line_is_decided_before_all_has_come_back(session, batch, stage):
    tier = TicketTierFactory(quantity=2)
    for _ in range(2):
        OrderFactory(tier=tier, stage=OrderStage.HELD).items[0].desired_state = InventoryState.RELEASED
    pair = OrderFactory(tier=tier, quantity=2)
    assert serve(session, tier, batch=batch).more is (stage is OrderStage.QUEUED)
    assert stages(session, pair) == [stage]
    serve(session, tier, batch=batch)
    assert not serve(session, tier, batch=batch).more
    assert stages(session, pair) == [OrderStage.HELD]


def test_a_person_gets_no_more_than_the_tier_allows(session):
    tier = TicketTierFactory(quantity=10, max_per_person=3)
    buyer = UserFactory()
    orders = [OrderFactory(tier=tier, user=buyer, quantity=n) for n in (2, 2, 1)]
    serve(session, tier)
    assert stages(session, *orders) == [OrderStage.HELD, OrderStage.CLOSED, OrderStage.HELD]
    assert orders[1].reason is OrderReason.LIMIT_EXCEEDED
    another = OrderFactory(tier=tier, user=buyer)
    serve(session, tier)
    assert stages(session, another) == [OrderStage.CLOSED]


def test_paused_tiers_serve_nobody_but_take_stock_back(session):
    tier = TicketTierFactory(quantity=2, is_paused=True)
    held = OrderFactory(tier=tier, stage=OrderStage.HELD)
    waiting = OrderFactory(tier=tier)
    held.items[0].desired_state = InventoryState.RELEASED
    serve(session, tier)
    assert counters(session, tier) == (0, 0)
    assert stages(session, waiting) == [OrderStage.QUEUED]


def test_cancelled_events_refuse_everybody(session):
    event = EventFactory(status=EventStatus.CANCELLED)
    order = OrderFactory(tier=TicketTierFactory(event=event))
    serve(session, order.items[0].tier)
    assert stages(session, order) == [OrderStage.CLOSED]
    assert order.reason is OrderReason.EVENT_CANCELLED


def test_tiers_that_require_approval_hold_the_order_for_the_promoter(session, announced):
    order = OrderFactory(tier=TicketTierFactory(requires_approval=True))
    serve(session, order.items[0].tier)
    session.refresh(order)
    assert order.stage is OrderStage.AWAITING_APPROVAL
    assert order.hold_expires_at == NOW + timedelta(seconds=3600)
    assert not [message for message in announced if isinstance(message, OpenPayment)]


class TestSeveralTiers:
    def test_an_order_is_held_once_all_its_tiers_served_it(self, session, announced):
        event = EventFactory(capacity=100)
        first, second = TicketTierFactory(event=event), TicketTierFactory(event=event)
        order = OrderFactory(contents={first: 1, second: 2})
        serve(session, first)
        assert stages(session, order) == [OrderStage.PARTLY_HELD]
        serve(session, second)
        assert stages(session, order) == [OrderStage.HELD]
        assert [m.order_id for m in announced if isinstance(m, OpenPayment)] == [order.id]

    def test_a_refusal_by_one_tier_gives_the_others_back(self, session, announced):
        event = EventFactory(capacity=100)
        plenty, scarce = TicketTierFactory(event=event), TicketTierFactory(event=event, quantity=1)
        order = OrderFactory(contents={plenty: 1, scarce: 2})
        serve(session, plenty)
        serve(session, scarce)
        assert stages(session, order) == [OrderStage.CLOSED]
        assert ServeTier(plenty.id) in announced
        serve(session, plenty)
        assert counters(session, plenty) == (0, 0)
        assert counters(session, scarce) == (0, 0)
        states = set(session.scalars(select(OrderItem.inventory_state).where(OrderItem.order_id == order.id)))
        assert states == {InventoryState.RELEASED, InventoryState.REFUSED}

    def test_an_item_that_still_waits_is_passed_over_after_the_refusal(self, session):
        event = EventFactory(capacity=100)
        plenty, scarce = TicketTierFactory(event=event), TicketTierFactory(event=event, quantity=0)
        order = OrderFactory(contents={plenty: 1, scarce: 1})
        serve(session, scarce)
        serve(session, plenty)
        assert stages(session, order) == [OrderStage.CLOSED]
        assert counters(session, plenty) == (0, 0)


class TestTogether:
    """Several tiers in one round."""

    def serve(self, session, *tiers, batch=100, **options):
        tier_ids = [tier.id for tier in tiers]
        outcomes = allocation.serve_together(session, tier_ids, NOW, CLOCKS, batch=batch, **options)
        session.commit()
        return [outcomes[tier_id] for tier_id in tier_ids]

    def test_each_tier_is_decided_by_itself(self, session, announced):
        scarce, limited, paused = (
            TicketTierFactory(quantity=1),
            TicketTierFactory(max_per_person=1),
            TicketTierFactory(is_paused=True),
        )
        over = TicketTierFactory(event=EventFactory(status=EventStatus.CANCELLED))
        buyer = UserFactory()
        first, second, third, twice = (
            OrderFactory(tier=tier, user=buyer) for tier in (scarce, scarce, limited, limited)
        )
        waiting, late = OrderFactory(tier=paused), OrderFactory(tier=over)
        outcomes = self.serve(session, scarce, limited, paused, over)
        assert [(outcome.served, outcome.refused) for outcome in outcomes] == [(1, 1), (1, 1), (0, 0), (0, 1)]
        assert stages(session, first, third, waiting) == [OrderStage.HELD, OrderStage.HELD, OrderStage.QUEUED]
        reasons = [OrderReason.SOLD_OUT, OrderReason.LIMIT_EXCEEDED, OrderReason.EVENT_CANCELLED]
        assert [order.reason for order in (second, twice, late)] == reasons
        assert [counters(session, tier) for tier in (scarce, limited, paused, over)] == [(1, 0), (1, 0), (0, 0), (0, 0)]
        assert {m.order_id for m in announced if isinstance(m, OpenPayment)} == {first.id, third.id}

    def test_an_order_over_all_of_them_is_held_once(self, session, announced):
        event = EventFactory(capacity=100)
        first, second = TicketTierFactory(event=event), TicketTierFactory(event=event)
        order = OrderFactory(contents={first: 1, second: 2})
        self.serve(session, first, second)
        assert stages(session, order) == [OrderStage.HELD]
        assert [counters(session, tier) for tier in (first, second)] == [(1, 0), (2, 0)]
        kinds = session.scalars(select(TimelineEntry.kind).where(TimelineEntry.order_id == order.id)).all()
        assert kinds.count("held") == 1
        assert [m.order_id for m in announced if isinstance(m, OpenPayment)] == [order.id]

    def test_one_of_them_that_wants_approval_is_enough(self, session):
        event = EventFactory(capacity=100)
        first, second = TicketTierFactory(event=event), TicketTierFactory(event=event, requires_approval=True)
        order = OrderFactory(contents={first: 1, second: 1})
        self.serve(session, first, second)
        assert stages(session, order) == [OrderStage.AWAITING_APPROVAL]

    def test_an_order_that_waits_elsewhere_too_is_partly_held(self, session):
        event = EventFactory(capacity=100)
        first, second, elsewhere = (TicketTierFactory(event=event) for _ in range(3))
        order = OrderFactory(contents={first: 1, second: 1, elsewhere: 1})
        self.serve(session, first, second)
        assert stages(session, order) == [OrderStage.PARTLY_HELD]

    def test_what_one_of_them_refuses_the_other_takes_back(self, session, announced):
        event = EventFactory(capacity=100)
        plenty, scarce = TicketTierFactory(event=event), TicketTierFactory(event=event, quantity=0)
        order = OrderFactory(contents={plenty: 1, scarce: 1})
        self.serve(session, plenty, scarce)
        assert stages(session, order) == [OrderStage.CLOSED]
        assert order.reason is OrderReason.SOLD_OUT
        assert ServeTier(plenty.id) in announced
        assert not [m for m in announced if isinstance(m, OpenPayment)]
        self.serve(session, plenty, scarce)
        assert counters(session, plenty) == (0, 0)

    def test_wishes_and_edits_are_granted_to_each(self, session):
        released, sold, grown = (TicketTierFactory(quantity=1) for _ in range(3))
        back, paid = (OrderFactory(tier=tier, stage=OrderStage.HELD) for tier in (released, sold))
        back.items[0].desired_state = InventoryState.RELEASED
        paid.items[0].desired_state = InventoryState.SOLD
        grown.desired_quantity = 3
        served, refused, large = (
            OrderFactory(tier=released),
            OrderFactory(tier=sold),
            OrderFactory(tier=grown, quantity=3),
        )
        outcomes = self.serve(session, released, sold, grown)
        assert [outcome.granted for outcome in outcomes] == [1, 1, 0]
        assert stages(session, served, refused, large) == [OrderStage.HELD, OrderStage.CLOSED, OrderStage.HELD]
        assert [counters(session, tier) for tier in (released, sold, grown)] == [(1, 0), (0, 1), (3, 0)]

    def test_the_waitlist_of_one_is_offered_its_stock_beside_the_line_of_another(self, session):
        waited_for, other = TicketTierFactory(quantity=1), TicketTierFactory()
        entry, order = WaitlistFactory(tier=waited_for), OrderFactory(tier=other)
        outcomes = self.serve(session, waited_for, other)
        assert [outcome.offered for outcome in outcomes] == [1, 0]
        session.refresh(entry)
        assert entry.status is WaitlistStatus.OFFERED
        assert stages(session, order) == [OrderStage.HELD]
        assert [counters(session, tier) for tier in (waited_for, other)] == [(1, 0), (1, 0)]

    def test_the_share_of_each_is_bounded_and_what_is_left_is_told(self, session):
        long, short = TicketTierFactory(), TicketTierFactory()
        orders = [OrderFactory(tier=tier) for tier in (long, long, long, short)]
        outcomes = self.serve(session, long, short, batch=2)
        assert [(outcome.served, outcome.more) for outcome in outcomes] == [(2, True), (1, False)]
        assert stages(session, *orders) == [OrderStage.HELD, OrderStage.HELD, OrderStage.QUEUED, OrderStage.HELD]

    def test_the_measured_rate_is_kept_where_somebody_was_decided(self, session):
        busy, idle = TicketTierFactory(), TicketTierFactory()
        OrderFactory(tier=busy)
        self.serve(session, busy, idle, rates={busy.id: 12.5, idle.id: 3.5})
        session.expire_all()
        assert (busy.service_rate, idle.service_rate) == (12.5, None)

    def test_a_tier_that_does_not_exist_is_left_out(self, session):
        tier, unknown = TicketTierFactory(), uuid7()
        assert set(allocation.serve_together(session, [unknown, tier.id], NOW, CLOCKS, batch=1)) == {tier.id}


class TestWishes:
    @pytest.mark.parametrize(
        ("state", "wish", "before", "after"),
        [
            (InventoryState.RESERVED, InventoryState.SOLD, (2, 0), (0, 2)),
            (InventoryState.RESERVED, InventoryState.RELEASED, (2, 0), (0, 0)),
            (InventoryState.SOLD, InventoryState.RELEASED, (0, 2), (0, 0)),
            (InventoryState.SOLD, InventoryState.SOLD, (0, 2), (0, 2)),
        ],
    )
    def test_counters_change_with_the_state(self, session, state, wish, before, after):
        sold = state is InventoryState.SOLD
        order = OrderFactory(quantity=2, stage=OrderStage.COMPLETE if sold else OrderStage.HELD)
        tier = order.items[0].tier
        order.items[0].desired_state = wish
        session.flush()
        assert counters(session, tier) == before
        serve(session, tier)
        assert counters(session, tier) == after
        serve(session, tier)
        assert counters(session, tier) == after
        session.refresh(order.items[0])
        assert (order.items[0].inventory_state, order.items[0].desired_state) == (wish, None)

    def test_tickets_refunded_singly_free_their_seats_once(self, session):
        order = OrderFactory(quantity=5, stage=OrderStage.COMPLETE)
        (item,), tier = order.items, order.items[0].tier
        for desired, sold in ((2, 3), (2, 3), (1, 3), (4, 1)):
            item.desired_state, item.desired_returned = InventoryState.SOLD, desired
            session.flush()
            serve(session, tier)
            assert counters(session, tier) == (0, sold)
            session.refresh(item)
            assert (item.desired_state, item.desired_returned) == (None, None)
        tier.recount_due = True
        item.desired_state = InventoryState.RELEASED
        session.flush()
        serve(session, tier)
        assert counters(session, tier) == (0, 0)

    def test_seats_given_back_singly_count_no_more_against_their_person(self, session):
        tier = TicketTierFactory(max_per_person=4)
        kept = OrderFactory(tier=tier, quantity=4, stage=OrderStage.COMPLETE)
        kept.items[0].desired_state, kept.items[0].desired_returned = InventoryState.SOLD, 2
        more, too_many = (OrderFactory(tier=tier, user=kept.user, quantity=quantity) for quantity in (2, 1))
        serve(session, tier)
        assert stages(session, more, too_many) == [OrderStage.HELD, OrderStage.CLOSED]
        assert counters(session, tier) == (2, 2)

    def test_freed_stock_is_served_in_the_same_round(self, session):
        tier = TicketTierFactory(quantity=1)
        held = OrderFactory(tier=tier, stage=OrderStage.HELD)
        waiting = OrderFactory(tier=tier)
        held.items[0].desired_state = InventoryState.RELEASED
        serve(session, tier)
        assert stages(session, waiting) == [OrderStage.HELD]

    def test_a_larger_quantity_is_taken_over(self, session):
        tier = TicketTierFactory(quantity=1, desired_quantity=4)
        order = OrderFactory(tier=tier, quantity=3)
        serve(session, tier)
        session.refresh(tier)
        assert (tier.quantity, tier.desired_quantity, tier.quantity_refusal) == (4, None, None)
        assert stages(session, order) == [OrderStage.HELD]

    def test_a_quantity_below_what_is_taken_is_refused_with_the_reason(self, session):
        tier = TicketTierFactory(quantity=5)
        OrderFactory(tier=tier, quantity=3, stage=OrderStage.COMPLETE)
        tier.desired_quantity = 2
        serve(session, tier)
        session.refresh(tier)
        assert (tier.quantity, tier.desired_quantity) == (5, None)
        assert "3 tickets are sold or reserved" in tier.quantity_refusal

    def test_a_recount_heals_the_counters(self, session):
        tier = TicketTierFactory(quantity=10)
        OrderFactory(tier=tier, quantity=3, stage=OrderStage.COMPLETE)
        OrderFactory(tier=tier, quantity=2, stage=OrderStage.HELD)
        tier.sold, tier.reserved, tier.recount_due = 7, 1, True
        serve(session, tier)
        assert counters(session, tier) == (2, 3)


class TestWaitlist:
    def test_freed_stock_goes_to_the_lowest_number_be_it_an_entry_or_an_order(self, session, announced):
        tier = TicketTierFactory(quantity=2)
        held = [OrderFactory(tier=tier, stage=OrderStage.HELD) for _ in range(2)]
        entry = WaitlistFactory(tier=tier, event=tier.event)
        order = OrderFactory(tier=tier)
        another = OrderFactory(tier=tier)
        for old in held:
            old.items[0].desired_state = InventoryState.RELEASED
        serve(session, tier)
        session.refresh(entry)
        assert entry.status is WaitlistStatus.OFFERED
        assert stages(session, order, another) == [OrderStage.HELD, OrderStage.CLOSED]
        assert NotifyOffer(entry.id) in announced

    def test_an_offer_is_an_order_that_holds_the_stock_at_the_entrys_number(self, session):
        tier = TicketTierFactory(quantity=2)
        entry = WaitlistFactory(tier=tier, event=tier.event, quantity=2)
        serve(session, tier)
        session.refresh(entry)
        offer = session.get(Order, entry.offered_order_id)
        assert (offer.stage, offer.source, offer.sequence) == (OrderStage.OFFERED, OrderSource.WAITLIST, entry.sequence)
        assert offer.hold_expires_at == entry.offer_expires_at == NOW + timedelta(seconds=1800)
        assert offer.total == offer.subtotal + offer.fees + offer.tax
        assert counters(session, tier) == (2, 0)

    def test_a_group_that_does_not_fit_is_passed_over_where_the_event_allows_it(self, session):
        tier = TicketTierFactory(quantity=1)
        group = WaitlistFactory(tier=tier, event=tier.event, quantity=2)
        single = WaitlistFactory(tier=tier, event=tier.event, quantity=1)
        serve(session, tier)
        session.expire_all()
        assert (group.status, single.status) == (WaitlistStatus.WAITING, WaitlistStatus.OFFERED)

    def test_a_group_that_does_not_fit_holds_the_line_where_the_event_says_so(self, session):
        tier = TicketTierFactory(quantity=1, event=EventFactory(skips_large_groups=False))
        group = WaitlistFactory(tier=tier, event=tier.event, quantity=2)
        order = OrderFactory(tier=tier)
        serve(session, tier)
        session.expire_all()
        assert group.status is WaitlistStatus.WAITING
        assert stages(session, order) == [OrderStage.CLOSED]

    def test_nobody_is_offered_after_the_sale_has_ended_and_the_reason_is_kept(self, session):
        tier = TicketTierFactory(quantity=1, sale_ends_at=NOW - timedelta(hours=1), sale_starts_at=None)
        entry = WaitlistFactory(tier=tier, event=tier.event)
        serve(session, tier)
        session.refresh(entry)
        assert (entry.status, entry.unoffered_reason) == (WaitlistStatus.EXPIRED, "the sale has ended")


def test_quarantine_sets_one_order_aside_and_the_line_goes_on(session):
    tier = TicketTierFactory(quantity=2)
    poison, healthy = OrderFactory(tier=tier), OrderFactory(tier=tier)
    assert allocation.quarantine(session, poison.items[0].id, NOW) == poison.id
    serve(session, tier)
    assert stages(session, poison, healthy) == [OrderStage.QUARANTINED, OrderStage.HELD]
    assert session.scalar(select(func.count()).select_from(OrderItem).where(OrderItem.tier_id == tier.id)) == 2
    assert session.get(TicketTier, tier.id).reserved == 1
    assert session.scalar(select(func.count()).select_from(Waitlist)) == 0
