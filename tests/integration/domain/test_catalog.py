from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import select

from domain.audit import Actor
from domain.catalog import (
    EventDetails,
    UnpublishableError,
    cancel_event,
    create_event,
    delete_event,
    publish_event,
    slug_of,
    update_event,
)
from domain.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from domain.listings import read_event
from domain.messages import ServeTier
from domain.models import AuditLog, Event
from domain.rules.publishing import ACCOUNT_MISSING
from domain.rules.states import EventStatus, StripeAccountState, UserRole, VerificationStatus
from domain.terms import Platform
from tests.factories import EventFactory, OrderFactory, PromoterFactory, TicketTierFactory, UserFactory, bound_to

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)
PLATFORM = Platform(currencies=("EUR", "DKK"), fee_rate_bps=250, fee_fixed=50, returns_fees=True)
STRICT = replace(PLATFORM, requires_accounts=True)
DETAILS = EventDetails(
    title="Jazz på Havnen",
    starts_at=NOW + timedelta(days=30),
    ends_at=NOW + timedelta(days=30, hours=4),
    timezone="Europe/Copenhagen",
    capacity=100,
    currency="EUR",
)
STRANGER = Actor()


@pytest.fixture
def rows(session):
    with bound_to(session):
        yield session


@pytest.fixture
def promoter(rows):
    return PromoterFactory()


@pytest.fixture
def actor(promoter):
    return Actor(promoter.user_id, UserRole.PROMOTER, request_id="r-1")


@pytest.fixture
def admin(rows):
    return Actor(UserFactory(role=UserRole.ADMIN).id, UserRole.ADMIN)


@pytest.fixture
def other(rows):
    return Actor(PromoterFactory().user_id, UserRole.PROMOTER)


@pytest.fixture
def event(promoter):
    return EventFactory(promoter=promoter, starts_at=DETAILS.starts_at, currency="EUR")


def draft_of(promoter, **values):
    return EventFactory(promoter=promoter, status=EventStatus.DRAFT, starts_at=DETAILS.starts_at, **values)


def details_of(event, **changes):
    return replace(
        DETAILS,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        capacity=event.capacity,
        currency=event.currency,
        **changes,
    )


def acts(session):
    return session.scalars(select(AuditLog.action).order_by(AuditLog.id)).all()


class TestCreate:
    def test_a_draft_has_the_fees_of_the_platform(self, session, actor, promoter):
        event = create_event(session, actor, DETAILS, PLATFORM)
        session.expire_all()
        assert (event.status, event.promoter_id) == (EventStatus.DRAFT, promoter.id)
        assert (event.fee_rate_bps, event.fee_fixed, event.slug) == (250, 50, "jazz-pa-havnen")
        assert event.returns_fees is True

    def test_the_platform_may_keep_its_fee(self, session, actor):
        assert create_event(session, actor, DETAILS, replace(PLATFORM, returns_fees=False)).returns_fees is False

    def test_a_promoters_own_terms_come_before_the_platforms(self, session, rows):
        promoter = PromoterFactory(fee_rate_bps=0, fee_fixed=10, returns_fees=False)
        event = create_event(session, Actor(promoter.user_id, UserRole.PROMOTER), DETAILS, PLATFORM)
        assert (event.fee_rate_bps, event.fee_fixed, event.returns_fees) == (0, 10, False)

    def test_it_is_written_down_with_its_values(self, session, actor):
        event = create_event(session, actor, DETAILS, PLATFORM)
        session.flush()
        entry = session.scalars(select(AuditLog)).one()
        assert (entry.action, entry.entity_id, entry.actor_id) == ("event.create", event.id, actor.user_id)
        assert (entry.old_data, entry.request_id) == (None, "r-1")
        assert entry.new_data["starts_at"] == "2027-05-31T12:00:00+00:00"

    def test_the_same_title_gets_another_slug(self, session, actor):
        first = create_event(session, actor, DETAILS, PLATFORM)
        second = create_event(session, actor, DETAILS, PLATFORM)
        session.expire_all()
        assert first.slug == "jazz-pa-havnen"
        assert second.slug.startswith("jazz-pa-havnen-")
        assert first.slug != second.slug

    def test_it_needs_a_promoter_profile(self, session, admin):
        with pytest.raises(ConflictError) as refusal:
            create_event(session, admin, DETAILS, PLATFORM)
        assert refusal.value.code == "promoter-profile-required"

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"ends_at": DETAILS.starts_at}, "/ends_at"),
            ({"doors_at": DETAILS.starts_at + timedelta(seconds=1)}, "/doors_at"),
            ({"timezone": "Europe/Atlantis"}, "/timezone"),
            ({"timezone": "../../etc/passwd"}, "/timezone"),
            ({"latitude": 55}, "/latitude"),
            ({"currency": "USD"}, "/currency"),
        ],
    )
    def test_what_contradicts_itself_is_refused(self, session, actor, changes, pointer):
        with pytest.raises(InvalidError) as refusal:
            create_event(session, actor, replace(DETAILS, **changes), PLATFORM)
        assert refusal.value.pointer == pointer

    def test_only_an_admin_features_an_event(self, session, actor, admin):
        with pytest.raises(ForbiddenError):
            create_event(session, actor, replace(DETAILS, is_featured=True), PLATFORM)
        event = create_event(session, actor, DETAILS, PLATFORM)
        update_event(session, admin, event.id, replace(DETAILS, is_featured=True), PLATFORM, NOW)
        assert event.is_featured
        update_event(session, actor, event.id, DETAILS, PLATFORM, NOW)
        assert event.is_featured


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Jazz & Blues: Night #2", "jazz-blues-night-2"),
        ("Über  -- Straße", "uber-strasse"),
        ("Øresund på Ærø", "oresund-pa-aero"),
        ("東京", "event"),
        ("x" * 200, "x" * 80),
        ("y" * 79 + " z", "y" * 79),
    ],
)
def test_a_slug_is_ascii_and_short(title, slug):
    assert slug_of(title) == slug


class TestOwnership:
    @pytest.mark.parametrize("hidden", [{"status": EventStatus.DRAFT}, {"is_private": True}])
    def test_what_is_hidden_does_not_exist_for_others(self, session, promoter, actor, admin, other, hidden):
        event = EventFactory(promoter=promoter, **hidden)
        buyer = Actor(UserFactory().id, UserRole.USER)
        for nobody in (other, buyer, STRANGER):
            with pytest.raises(NotFoundError):
                read_event(session, nobody, event.id)
            with pytest.raises(NotFoundError):
                publish_event(session, nobody, event.id, PLATFORM, NOW)
        assert read_event(session, actor, event.id) is event
        assert read_event(session, admin, event.id) is event

    def test_what_is_public_may_be_read_but_not_changed_by_others(self, session, event, other):
        assert read_event(session, STRANGER, event.id) is event
        for change in (
            lambda: update_event(session, other, event.id, DETAILS, PLATFORM, NOW),
            lambda: publish_event(session, other, event.id, PLATFORM, NOW),
            lambda: cancel_event(session, other, event.id, NOW),
            lambda: delete_event(session, other, event.id, NOW),
        ):
            with pytest.raises(ForbiddenError):
                change()

    def test_an_admin_may_change_everything(self, session, event, admin):
        assert cancel_event(session, admin, event.id, NOW).is_cancelled


class TestUpdate:
    def test_only_what_changed_is_written_down(self, session, actor):
        event = create_event(session, actor, DETAILS, PLATFORM)
        update_event(session, actor, event.id, replace(DETAILS, capacity=120, tags=("Jazz",)), PLATFORM, NOW)
        session.flush()
        entry = session.scalars(select(AuditLog).where(AuditLog.action == "event.update")).one()
        assert (entry.old_data, entry.new_data) == ({"tags": [], "capacity": 100}, {"tags": ["jazz"], "capacity": 120})

    def test_saying_the_same_again_is_not_an_act(self, session, actor):
        event = create_event(session, actor, DETAILS, PLATFORM)
        update_event(session, actor, event.id, DETAILS, PLATFORM, NOW)
        assert acts(session) == ["event.create"]

    def test_a_new_title_keeps_the_address(self, session, actor):
        event = create_event(session, actor, DETAILS, PLATFORM)
        update_event(session, actor, event.id, replace(DETAILS, title="Swing"), PLATFORM, NOW)
        assert (event.title, event.slug) == ("Swing", "jazz-pa-havnen")

    def test_the_capacity_holds_the_tiers_and_what_they_are_asked_to_hold(self, session, actor, event):
        TicketTierFactory(event=event, quantity=60)
        TicketTierFactory(event=event, quantity=20, desired_quantity=40)
        with pytest.raises(ConflictError) as refusal:
            update_event(session, actor, event.id, replace(details_of(event), capacity=99), PLATFORM, NOW)
        assert (refusal.value.code, refusal.value.pointer) == ("capacity-below-tiers", "/capacity")
        update_event(session, actor, event.id, replace(details_of(event), capacity=100), PLATFORM, NOW)

    def test_a_published_event_keeps_its_currency_and_moves_into_the_future_only(self, session, actor, event):
        with pytest.raises(ConflictError) as refusal:
            update_event(session, actor, event.id, replace(details_of(event), currency="DKK"), PLATFORM, NOW)
        assert refusal.value.pointer == "/currency"
        past = replace(details_of(event), starts_at=NOW - timedelta(days=1))
        with pytest.raises(InvalidError) as refusal:
            update_event(session, actor, event.id, past, PLATFORM, NOW)
        assert refusal.value.pointer == "/starts_at"

    def test_a_published_event_absorbs_fees_only_if_its_prices_pay_them(self, session, actor, promoter):
        event = EventFactory(promoter=promoter, starts_at=DETAILS.starts_at, fee_rate_bps=0, fee_fixed=100)
        TicketTierFactory(event=event, price=99)
        with pytest.raises(InvalidError) as refusal:
            update_event(session, actor, event.id, details_of(event, absorbs_fees=True), PLATFORM, NOW)
        assert refusal.value.pointer == "/absorbs_fees"

    @pytest.mark.parametrize("status", [EventStatus.CANCELLED, EventStatus.COMPLETED])
    def test_an_event_that_is_over_stays_as_it_is(self, session, actor, promoter, status):
        event = EventFactory(promoter=promoter, status=status)
        with pytest.raises(ConflictError) as refusal:
            update_event(session, actor, event.id, DETAILS, PLATFORM, NOW)
        assert refusal.value.code == "event-closed"

    def test_another_rule_for_large_groups_rings_the_tiers(self, session, actor, event, announced):
        tier = TicketTierFactory(event=event)
        update_event(session, actor, event.id, details_of(event, skips_large_groups=False), PLATFORM, NOW)
        session.commit()
        assert announced == [ServeTier(tier.id)]


class TestPublish:
    def test_a_complete_draft_goes_on_sale(self, session, actor, promoter):
        event = draft_of(promoter)
        TicketTierFactory(event=event)
        publish_event(session, actor, event.id, PLATFORM, NOW)
        session.flush()
        session.expire_all()
        assert (event.status, event.published_at) == (EventStatus.PUBLISHED, NOW)
        assert acts(session) == ["event.publish"]

    def test_publishing_twice_changes_nothing(self, session, actor, event):
        before = event.published_at
        assert publish_event(session, actor, event.id, PLATFORM, NOW).published_at == before
        assert acts(session) == []

    def test_everything_that_is_missing_is_named(self, session, rows):
        promoter = PromoterFactory(verification_status=VerificationStatus.PENDING)
        event = EventFactory(promoter=promoter, status=EventStatus.DRAFT, starts_at=NOW, capacity=10)
        TicketTierFactory(event=event, quantity=11, price=49, sale_ends_at=NOW)
        with pytest.raises(UnpublishableError) as refusal:
            publish_event(session, Actor(promoter.user_id, UserRole.PROMOTER), event.id, PLATFORM, NOW)
        assert [fault.pointer for fault in refusal.value.faults] == [
            "/starts_at",
            "/capacity",
            "/tiers/0/price",
            "/tiers/0/sale_ends_at",
            "/promoter",
        ]
        assert event.status is EventStatus.DRAFT

    @pytest.mark.parametrize(
        ("state", "is_sold"),
        [
            (StripeAccountState.READY, True),
            (StripeAccountState.PENDING, False),
            (StripeAccountState.RESTRICTED, False),
        ],
    )
    def test_where_accounts_are_asked_for_paid_tickets_need_a_ready_one(self, session, rows, state, is_sold):
        promoter = PromoterFactory(stripe_account_state=state)
        event = draft_of(promoter)
        TicketTierFactory(event=event)
        publish = partial(publish_event, session, Actor(promoter.user_id, UserRole.PROMOTER), event.id)
        if is_sold:
            assert publish(STRICT, NOW).is_published
            return
        with pytest.raises(UnpublishableError) as refusal:
            publish(STRICT, NOW)
        assert refusal.value.faults == (ACCOUNT_MISSING,)
        assert publish(PLATFORM, NOW).is_published

    def test_a_cancelled_event_is_not_published_again(self, session, actor, promoter):
        event = EventFactory(promoter=promoter, status=EventStatus.CANCELLED)
        with pytest.raises(ConflictError):
            publish_event(session, actor, event.id, PLATFORM, NOW)


class TestCancel:
    def test_it_rings_every_tier_and_is_written_down_once(self, session, actor, event, announced):
        tiers = [TicketTierFactory(event=event) for _ in range(2)]
        cancel_event(session, actor, event.id, NOW)
        cancel_event(session, actor, event.id, NOW + timedelta(hours=1))
        session.commit()
        assert (event.status, event.cancelled_at) == (EventStatus.CANCELLED, NOW)
        assert sorted(announced, key=str) == sorted((ServeTier(tier.id) for tier in tiers), key=str)
        assert acts(session) == ["event.cancel"]

    @pytest.mark.parametrize(
        ("status", "code"), [(EventStatus.DRAFT, "event-not-published"), (EventStatus.COMPLETED, "event-closed")]
    )
    def test_only_what_is_on_sale_can_be_cancelled(self, session, actor, promoter, status, code):
        event = EventFactory(promoter=promoter, status=status)
        with pytest.raises(ConflictError) as refusal:
            cancel_event(session, actor, event.id, NOW)
        assert refusal.value.code == code


class TestDelete:
    def test_a_draft_disappears_but_its_row_stays(self, session, actor, promoter):
        event = draft_of(promoter)
        delete_event(session, actor, event.id, NOW)
        session.flush()
        assert session.get_one(Event, event.id).is_deleted
        with pytest.raises(NotFoundError):
            read_event(session, actor, event.id)
        with pytest.raises(NotFoundError):
            delete_event(session, actor, event.id, NOW)

    def test_a_published_event_without_orders_is_called_off_first(self, session, actor, event, announced):
        tier = TicketTierFactory(event=event)
        delete_event(session, actor, event.id, NOW)
        session.commit()
        assert event.is_deleted
        assert event.is_cancelled
        assert announced == [ServeTier(tier.id)]

    def test_an_event_with_orders_stays(self, session, actor, event):
        OrderFactory(tier=TicketTierFactory(event=event))
        with pytest.raises(ConflictError) as refusal:
            delete_event(session, actor, event.id, NOW)
        assert refusal.value.code == "event-has-orders"
