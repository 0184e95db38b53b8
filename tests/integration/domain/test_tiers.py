import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from domain import allocation
from domain.audit import Actor
from domain.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from domain.messages import ServeTier
from domain.models import AuditLog, Event, Order, OrderItem, TicketTier
from domain.rules.states import EventStatus, OrderStage, StripeAccountState, UserRole, VerificationStatus
from domain.terms import Platform
from domain.tiers import (
    MAX_TIERS,
    TierDetails,
    create_tier,
    delete_tier,
    drain_tier,
    pause_tier,
    resume_tier,
    update_tier,
)
from tests.factories import EventFactory, OrderFactory, PromoterFactory, TicketTierFactory, UserFactory, bound_to
from tests.integration.market import CLOCKS

DETAILS = TierDetails(name="Standing", price=4500, quantity=100)
PLATFORM = Platform(currencies=("EUR",), fee_rate_bps=250, fee_fixed=50, returns_fees=True)
STRICT = replace(PLATFORM, requires_accounts=True)
NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def rows(session):
    with bound_to(session):
        yield session


@pytest.fixture
def promoter(rows):
    return PromoterFactory()


@pytest.fixture
def actor(promoter):
    return Actor(promoter.user_id, UserRole.PROMOTER)


@pytest.fixture
def draft(promoter):
    return EventFactory(promoter=promoter, status=EventStatus.DRAFT, capacity=150)


@pytest.fixture
def event(promoter):
    return EventFactory(promoter=promoter, capacity=150)


def acts(session):
    return session.scalars(select(AuditLog.action).order_by(AuditLog.id)).all()


class TestCreate:
    def test_a_tier_begins_with_nothing_sold(self, session, actor, draft):
        tier = create_tier(session, actor, draft.id, DETAILS, PLATFORM)
        session.expire_all()
        assert (tier.event_id, tier.price, tier.quantity) == (draft.id, 4500, 100)
        assert (tier.sold, tier.reserved, tier.is_paused) == (0, 0, False)
        assert acts(session) == ["tier.create"]

    def test_an_event_on_sale_gets_another_tier(self, session, actor, event):
        assert create_tier(session, actor, event.id, DETAILS, PLATFORM).quantity == 100

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"price": 49}, "/price"),
            ({"min_per_order": 3, "max_per_order": 2}, "/max_per_order"),
            ({"min_per_order": 3, "max_per_person": 2}, "/max_per_person"),
            ({"sale_starts_at": NOW, "sale_ends_at": NOW}, "/sale_ends_at"),
        ],
    )
    def test_what_contradicts_itself_is_refused(self, session, actor, draft, changes, pointer):
        with pytest.raises(InvalidError) as refusal:
            create_tier(session, actor, draft.id, replace(DETAILS, **changes), PLATFORM)
        assert refusal.value.pointer == pointer

    def test_the_tiers_never_hold_more_than_the_event(self, session, actor, event):
        TicketTierFactory(event=event, quantity=20, desired_quantity=51)
        with pytest.raises(ConflictError) as refusal:
            create_tier(session, actor, event.id, DETAILS, PLATFORM)
        assert (refusal.value.code, refusal.value.pointer) == ("capacity-exceeded", "/quantity")
        assert refusal.value.detail == "The event has room for 99 of them."
        create_tier(session, actor, event.id, replace(DETAILS, quantity=99), PLATFORM)

    def test_a_tier_that_is_asked_to_shrink_still_counts_in_full(self, session, actor, event):
        TicketTierFactory(event=event, quantity=60, desired_quantity=10)
        with pytest.raises(ConflictError):
            create_tier(session, actor, event.id, DETAILS, PLATFORM)

    def test_there_is_an_end_to_tiers(self, session, actor, draft):
        session.add_all([TicketTier(event_id=draft.id, name="Tier", price=0, quantity=0) for _ in range(MAX_TIERS)])
        session.flush()
        with pytest.raises(ConflictError) as refusal:
            create_tier(session, actor, draft.id, replace(DETAILS, quantity=0), PLATFORM)
        assert refusal.value.code == "too-many-tiers"

    def test_an_event_that_is_over_gets_none(self, session, actor, promoter):
        event = EventFactory(promoter=promoter, status=EventStatus.CANCELLED)
        with pytest.raises(ConflictError) as refusal:
            create_tier(session, actor, event.id, DETAILS, PLATFORM)
        assert refusal.value.code == "event-closed"


class TestOwnership:
    def test_others_touch_no_tier(self, session, event, draft):
        other = Actor(PromoterFactory().user_id, UserRole.PROMOTER)
        for whose, refusal in ((event, ForbiddenError), (draft, NotFoundError)):
            tier = TicketTierFactory(event=whose)
            for change in (
                lambda whose=whose: create_tier(session, other, whose.id, DETAILS, PLATFORM),
                lambda tier=tier: update_tier(session, other, tier.id, DETAILS, PLATFORM),
                lambda tier=tier: pause_tier(session, other, tier.id),
                lambda tier=tier: drain_tier(session, other, tier.id),
                lambda tier=tier: resume_tier(session, other, tier.id),
                lambda tier=tier: delete_tier(session, other, tier.id),
            ):
                with pytest.raises(refusal):
                    change()

    def test_a_hidden_tier_and_no_tier_look_alike(self, session, draft):
        other = Actor(PromoterFactory().user_id, UserRole.PROMOTER)
        with pytest.raises(NotFoundError) as hidden:
            update_tier(session, other, TicketTierFactory(event=draft).id, DETAILS, PLATFORM)
        with pytest.raises(NotFoundError) as missing:
            update_tier(session, other, draft.id, DETAILS, PLATFORM)
        assert hidden.value.detail == missing.value.detail

    def test_an_admin_touches_every_tier(self, session, event):
        admin = Actor(UserFactory(role=UserRole.ADMIN).id, UserRole.ADMIN)
        assert pause_tier(session, admin, TicketTierFactory(event=event).id).is_paused


class TestUpdate:
    def test_the_quantity_of_a_draft_changes_at_once(self, session, actor, draft, announced):
        tier = TicketTierFactory(event=draft, quantity=10)
        update_tier(session, actor, tier.id, replace(DETAILS, quantity=150), PLATFORM)
        session.commit()
        assert (tier.quantity, tier.desired_quantity, announced) == (150, None, [])

    def test_the_quantity_of_a_tier_on_sale_is_asked_for(self, session, actor, event, announced):
        tier = TicketTierFactory(event=event, quantity=10, quantity_refusal="12 tickets are sold.")
        update_tier(session, actor, tier.id, replace(DETAILS, quantity=20), PLATFORM)
        session.commit()
        session.expire_all()
        assert (tier.quantity, tier.desired_quantity, tier.quantity_refusal) == (10, 20, None)
        assert announced == [ServeTier(tier.id)]

    def test_asking_for_what_it_is_takes_the_wish_back(self, session, actor, event, announced):
        tier = TicketTierFactory(event=event, quantity=10, desired_quantity=20)
        update_tier(session, actor, tier.id, replace(DETAILS, quantity=10), PLATFORM)
        session.commit()
        assert (tier.quantity, tier.desired_quantity, announced) == (10, None, [])

    def test_tickets_that_are_taken_stay_taken(self, session, actor, event):
        tier = TicketTierFactory(event=event, quantity=10, sold=5, reserved=2)
        with pytest.raises(ConflictError) as refusal:
            update_tier(session, actor, tier.id, replace(DETAILS, quantity=6), PLATFORM)
        assert (refusal.value.code, refusal.value.pointer) == ("quantity-below-sold", "/quantity")
        assert update_tier(session, actor, tier.id, replace(DETAILS, quantity=7), PLATFORM).desired_quantity == 7

    def test_the_other_tiers_leave_so_much_room(self, session, actor, event):
        TicketTierFactory(event=event, quantity=100)
        tier = TicketTierFactory(event=event, quantity=10)
        with pytest.raises(ConflictError) as refusal:
            update_tier(session, actor, tier.id, replace(DETAILS, quantity=51), PLATFORM)
        assert refusal.value.code == "capacity-exceeded"
        assert update_tier(session, actor, tier.id, replace(DETAILS, quantity=50), PLATFORM).desired_quantity == 50

    def test_a_price_changes_while_on_sale_without_a_ring(self, session, actor, event, announced):
        tier = TicketTierFactory(event=event, price=4000, quantity=100)
        update_tier(session, actor, tier.id, replace(DETAILS, price=5000), PLATFORM)
        session.commit()
        entry = session.scalars(select(AuditLog)).one()
        assert (tier.price, announced) == (5000, [])
        assert (entry.action, entry.old_data["price"], entry.new_data["price"]) == ("tier.update", 4000, 5000)

    def test_saying_the_same_again_is_not_an_act(self, session, actor, event):
        tier = create_tier(session, actor, event.id, DETAILS, PLATFORM)
        update_tier(session, actor, tier.id, DETAILS, PLATFORM)
        assert acts(session) == ["tier.create"]


class TestAccounts:
    """Where accounts are asked for, nothing that costs money goes on sale without one."""

    @pytest.fixture
    def promoter(self, rows):
        return PromoterFactory(stripe_account_state=StripeAccountState.RESTRICTED)

    def test_a_published_event_gets_no_paid_tier(self, session, actor, event):
        with pytest.raises(ConflictError) as refusal:
            create_tier(session, actor, event.id, DETAILS, STRICT)
        assert (refusal.value.code, refusal.value.pointer) == ("payout-account-required", "/promoter")
        assert session.scalars(select(TicketTier)).all() == []

    @pytest.mark.parametrize("changes", [{"price": 0}, {"is_active": False}])
    def test_what_brings_no_money_needs_no_account(self, session, actor, event, changes):
        assert create_tier(session, actor, event.id, replace(DETAILS, **changes), STRICT).quantity == 100

    def test_a_draft_may_be_prepared(self, session, actor, draft):
        tier = create_tier(session, actor, draft.id, DETAILS, STRICT)
        assert update_tier(session, actor, tier.id, replace(DETAILS, price=900), STRICT).price == 900

    @pytest.mark.parametrize("before", [{"price": 0}, {"is_active": False}])
    def test_a_tier_on_sale_does_not_begin_to_cost(self, session, actor, event, before):
        tier = TicketTierFactory(event=event, **before)
        with pytest.raises(ConflictError) as refusal:
            update_tier(session, actor, tier.id, replace(DETAILS, quantity=tier.quantity), STRICT)
        assert refusal.value.code == "payout-account-required"

    def test_what_is_on_sale_stays_on_sale(self, session, actor, event):
        tier = TicketTierFactory(event=event)
        assert update_tier(session, actor, tier.id, replace(DETAILS, price=5000), STRICT).price == 5000

    def test_where_none_is_asked_for_none_is_missed(self, session, actor, event):
        assert create_tier(session, actor, event.id, DETAILS, PLATFORM).price == 4500

    def test_a_ready_one_opens_the_sale(self, session, actor, event, promoter):
        promoter.stripe_account_state = StripeAccountState.READY
        assert create_tier(session, actor, event.id, DETAILS, STRICT).price == 4500


def test_an_unverified_promoter_adds_no_paid_tier_to_what_is_on_sale(session, actor, event, promoter):
    promoter.verification_status, promoter.verified_at = VerificationStatus.PENDING, None
    session.flush()
    with pytest.raises(ConflictError) as refusal:
        create_tier(session, actor, event.id, DETAILS, PLATFORM)
    assert refusal.value.code == "promoter-unverified"
    assert create_tier(session, actor, event.id, replace(DETAILS, price=0), PLATFORM).price == 0


class TestPause:
    def test_pausing_rings_nobody_and_resuming_rings_once(self, session, actor, event, announced):
        tier = TicketTierFactory(event=event)
        assert pause_tier(session, actor, tier.id).is_paused
        pause_tier(session, actor, tier.id)
        session.commit()
        assert announced == []
        assert not resume_tier(session, actor, tier.id).is_paused
        resume_tier(session, actor, tier.id)
        session.commit()
        assert announced == [ServeTier(tier.id)]
        assert acts(session) == ["tier.pause", "tier.resume"]

    def test_draining_serves_who_stands_in_line_even_after_a_pause(self, session, actor, event, announced):
        tier = TicketTierFactory(event=event)
        pause_tier(session, actor, tier.id)
        drained = drain_tier(session, actor, tier.id)
        drain_tier(session, actor, tier.id)
        session.commit()
        assert (drained.is_draining, drained.is_paused, announced) == (True, False, [ServeTier(tier.id)])
        assert pause_tier(session, actor, tier.id).is_draining
        resumed = resume_tier(session, actor, tier.id)
        assert (resumed.is_draining, resumed.is_paused) == (False, False)
        assert acts(session) == ["tier.pause", "tier.drain", "tier.pause", "tier.resume"]

    def test_an_event_that_is_over_has_nothing_to_pause(self, session, actor, promoter):
        tier = TicketTierFactory(event=EventFactory(promoter=promoter, status=EventStatus.COMPLETED))
        with pytest.raises(ConflictError):
            pause_tier(session, actor, tier.id)


class TestDelete:
    def test_a_tier_of_a_draft_disappears(self, session, actor, draft):
        tier = TicketTierFactory(event=draft)
        delete_tier(session, actor, tier.id)
        session.flush()
        assert session.get(TicketTier, tier.id) is None
        assert acts(session) == ["tier.delete"]

    def test_a_tier_that_buyers_may_know_stays(self, session, actor, event):
        with pytest.raises(ConflictError) as refusal:
            delete_tier(session, actor, TicketTierFactory(event=event).id)
        assert refusal.value.code == "event-published"


class TestRaces:
    """Two real connections: whoever holds the event's lock makes the other wait, and decide on what it left."""

    @pytest.fixture
    def committed(self, sessions):
        with sessions.begin() as session, bound_to(session):
            event = EventFactory(capacity=150)
            tiers = [TicketTierFactory(event=event, quantity=50) for _ in range(2)]
            actor = Actor(event.promoter.user_id, UserRole.PROMOTER)
        return actor, event, tiers

    def test_two_tiers_cannot_take_the_same_room(self, sessions, committed, waits_for_lock):
        actor, _, (first, second) = committed
        results = []

        def raise_the_other():
            with sessions() as session:
                try:
                    update_tier(session, actor, second.id, replace(DETAILS, quantity=100), PLATFORM)
                    session.commit()
                except ConflictError as refusal:
                    results.append(refusal.code)

        with sessions() as session:
            update_tier(session, actor, first.id, replace(DETAILS, quantity=100), PLATFORM)
            thread = threading.Thread(target=raise_the_other)
            thread.start()
            waits_for_lock()
            session.commit()
        thread.join(10)
        assert results == ["capacity-exceeded"]
        with sessions() as session:
            assert session.get_one(TicketTier, first.id).desired_quantity == 100
            assert session.get_one(TicketTier, second.id).desired_quantity is None

    def test_an_edit_waits_for_the_round_that_is_under_way_and_changes_nothing_that_was_accepted(
        self, sessions, committed, waits_for_lock
    ):
        actor, _, (tier, _) = committed
        with sessions.begin() as session, bound_to(session):
            order = OrderFactory(tier=session.get_one(TicketTier, tier.id), quantity=3)
            price, total = order.items[0].unit_price, order.total
        refusals = []

        def shrink():
            with sessions() as session:
                try:
                    update_tier(session, actor, tier.id, replace(DETAILS, quantity=2, price=price + 100), PLATFORM)
                except ConflictError as refusal:
                    refusals.append(refusal.code)

        with sessions() as session:
            allocation.serve(session, tier.id, NOW, CLOCKS, batch=100)
            thread = threading.Thread(target=shrink)
            thread.start()
            waits_for_lock()
            session.commit()
        thread.join(10)
        assert refusals == ["quantity-below-sold"]
        with sessions.begin() as session:
            update_tier(session, actor, tier.id, replace(DETAILS, quantity=50, price=price + 100), PLATFORM)
        with sessions() as session:
            held = session.get_one(Order, order.id)
            line = session.scalars(select(OrderItem).where(OrderItem.order_id == order.id)).one()
            assert session.get_one(TicketTier, tier.id).price == price + 100
            assert (held.stage, held.total, line.unit_price) == (OrderStage.HELD, total, price)

    def test_an_order_may_refer_to_an_event_that_is_being_edited(self, sessions, committed):
        actor, event, (tier, _) = committed
        with sessions() as editing, sessions() as ordering:
            update_tier(editing, actor, tier.id, replace(DETAILS, quantity=60), PLATFORM)
            editing.flush()
            # What a foreign key takes; were it to wait, the statement would end in an error.
            ordering.execute(
                select(Event.id).where(Event.id == event.id).with_for_update(read=True, key_share=True, nowait=True)
            )
            ordering.execute(
                select(TicketTier.id)
                .where(TicketTier.id == tier.id)
                .with_for_update(read=True, key_share=True, nowait=True)
            )

    @pytest.fixture
    def waits_for_lock(self, engine):
        def wait():
            deadline = datetime.now(UTC) + timedelta(seconds=10)
            with Session(engine) as session:
                while (
                    not session.connection()
                    .exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted")
                    .scalar_one()
                ):
                    assert datetime.now(UTC) < deadline, "Nobody waited."
                    session.rollback()

        return wait
