from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from uuid_utils.compat import uuid7

from domain import allocation, waitlist
from domain.audit import Actor
from domain.errors import ConflictError, InvalidError, NotFoundError
from domain.messages import NotifyOffer, OpenPayment, ServeTier
from domain.models import EmailNotification, Event, Order, TimelineEntry
from domain.rules.states import EventStatus, OrderReason, OrderStage, UserRole, WaitlistStatus
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UserFactory, WaitlistFactory, bound_to
from tests.integration.market import CLOCKS

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _rows(session):
    with bound_to(session):
        yield


@pytest.fixture
def person():
    return Actor(user_id=UserFactory().id, role=UserRole.USER)


def actor_of(entry):
    return Actor(user_id=entry.user_id, role=UserRole.USER)


def join(session, person, tier, quantity=1):
    entry = waitlist.join(session, person, tier.event_id, tier.id, quantity, NOW)
    session.commit()
    return waitlist.find(session, entry.id, person)


def offered(**values):
    return WaitlistFactory(status=WaitlistStatus.OFFERED, **values)


def order_of(session, entry):
    return session.get_one(Order, entry.offered_order_id, populate_existing=True)


class TestJoin:
    def test_takes_a_number_in_the_line_that_orders_share(self, session, person, announced):
        tier = TicketTierFactory(quantity=0)
        before = OrderFactory(tier=tier).sequence
        entry = join(session, person, tier, 2)
        assert (entry.status, entry.quantity) == (WaitlistStatus.WAITING, 2)
        assert before < entry.sequence < OrderFactory(tier=tier).sequence
        assert announced == [ServeTier(tier.id)]

    def test_the_position_is_the_rank_among_those_who_wait(self, session, person):
        tier = TicketTierFactory(quantity=0)
        first = WaitlistFactory(tier=tier)
        WaitlistFactory(tier=tier, status=WaitlistStatus.LEFT)
        WaitlistFactory()
        entry = join(session, person, tier)
        assert entry.position == 2
        waitlist.leave(session, first.id, actor_of(first), NOW)
        assert waitlist.find(session, entry.id, person).position == 1

    @pytest.mark.parametrize("counted", [1000, 1])
    def test_who_was_refused_because_of_those_in_line_may_wait_behind_them(self, session, person, monkeypatch, counted):
        monkeypatch.setattr("domain.waitlist.COUNTED", counted)
        monkeypatch.setattr("domain.storefront.COUNTED", counted)
        tier = TicketTierFactory(quantity=4)
        OrderFactory(tier=tier, quantity=2)
        with pytest.raises(ConflictError) as refusal:
            join(session, person, tier, 2)
        assert refusal.value.code == "not-sold-out"
        OrderFactory(tier=tier)
        assert join(session, person, tier, 2).status == WaitlistStatus.WAITING

    def test_nobody_stands_in_the_same_line_twice(self, session, person):
        tier = TicketTierFactory(quantity=0)
        join(session, person, tier)
        with pytest.raises(ConflictError) as refusal:
            join(session, person, tier, 2)
        assert refusal.value.code == "already-waiting"

    def test_an_offer_is_a_place_in_the_line_too(self, session):
        entry = offered()
        with pytest.raises(ConflictError) as refusal:
            join(session, actor_of(entry), entry.tier)
        assert refusal.value.code == "already-waiting"

    @pytest.mark.parametrize("status", [WaitlistStatus.LEFT, WaitlistStatus.DECLINED, WaitlistStatus.EXPIRED])
    def test_whoever_comes_back_takes_a_new_number_in_the_old_row(self, session, status):
        tier = TicketTierFactory(quantity=0)
        old = WaitlistFactory(tier=tier, status=status, unoffered_reason="the sale has ended")
        sequence, other = old.sequence, WaitlistFactory(tier=tier)
        entry = join(session, actor_of(old), tier, 3)
        assert (entry.id, entry.status, entry.quantity) == (old.id, WaitlistStatus.WAITING, 3)
        assert entry.sequence > other.sequence > sequence
        assert entry.unoffered_reason is None
        assert entry.position == 2

    def test_after_an_offer_that_was_declined_nothing_of_it_is_left(self, session):
        entry = offered()
        tier = entry.tier
        waitlist.decline(session, entry.id, actor_of(entry), NOW)
        again = join(session, actor_of(entry), tier)
        assert (again.offered_order_id, again.offer_expires_at, again.response) == (None, None, None)

    @pytest.mark.parametrize(
        ("values", "quantity", "code"),
        [
            ({"quantity": 3}, 3, "not-sold-out"),
            ({"quantity": 0, "max_per_order": 2}, 3, "limit-exceeded"),
            ({"quantity": 0, "min_per_order": 2}, 1, "limit-exceeded"),
            ({"quantity": 0, "max_per_person": 2}, 3, "limit-exceeded"),
            ({"quantity": 0, "sale_starts_at": NOW + HOUR}, 1, "sale-closed"),
            ({"quantity": 0, "is_active": False}, 1, "sale-closed"),
        ],
    )
    def test_refusals(self, session, person, values, quantity, code):
        with pytest.raises(ConflictError) as refusal:
            join(session, person, TicketTierFactory(**values), quantity)
        assert refusal.value.code == code

    def test_a_refusal_names_the_limit_that_counts(self, session, person):
        with pytest.raises(ConflictError, match="has 1 to 2 tickets"):
            join(session, person, TicketTierFactory(quantity=0, max_per_person=2), 3)

    def test_a_larger_group_may_wait_while_a_few_are_left(self, session, person):
        assert join(session, person, TicketTierFactory(quantity=2), 3).is_waiting

    def test_a_cancelled_event_has_no_line(self, session, person):
        tier = TicketTierFactory(quantity=0, event=EventFactory(status=EventStatus.CANCELLED))
        with pytest.raises(ConflictError) as refusal:
            join(session, person, tier)
        assert refusal.value.code == "sale-closed"

    def test_tiers_unknown_foreign_or_private_do_not_exist(self, session, person):
        tier, private = TicketTierFactory(quantity=0), TicketTierFactory(event=EventFactory(is_private=True))
        for event_id, tier_id in (
            (tier.event_id, uuid7()),
            (EventFactory().id, tier.id),
            (private.event_id, private.id),
        ):
            with pytest.raises(InvalidError) as refusal:
                waitlist.join(session, person, event_id, tier_id, 1, NOW)
            assert refusal.value.pointer == "/tier_id"


class TestAccept:
    def test_the_order_goes_on_to_payment_inside_the_offers_clock(self, session, announced):
        entry = offered()
        ends = order_of(session, entry).hold_expires_at
        order_id = waitlist.accept(session, entry.id, actor_of(entry), CLOCKS, NOW)
        session.commit()
        order = order_of(session, entry)
        assert (order.id, order.stage) == (order_id, OrderStage.HELD)
        assert order.hold_expires_at == order.hold_limit_at == min(ends, NOW + timedelta(seconds=1200))
        assert (entry.status, entry.response, entry.responded_at) == (WaitlistStatus.ACCEPTED, "accepted", NOW)
        assert announced == [OpenPayment(order.id)]
        assert kinds(session, order) == ["offer_accepted"]

    def test_repeating_it_answers_the_same_order(self, session, announced):
        entry = offered()
        first = waitlist.accept(session, entry.id, actor_of(entry), CLOCKS, NOW)
        version = order_of(session, entry).version
        assert waitlist.accept(session, entry.id, actor_of(entry), CLOCKS, NOW + HOUR) == first
        assert order_of(session, entry).version == version

    def test_the_offer_ends_with_its_clock_whether_or_not_the_sweep_has_been(self, session):
        entry = offered()
        with pytest.raises(ConflictError) as refusal:
            waitlist.accept(session, entry.id, actor_of(entry), CLOCKS, entry.offer_expires_at + HOUR)
        assert refusal.value.code == "offer-expired"
        assert entry.status is WaitlistStatus.OFFERED

    def test_up_to_then_it_stands(self, session):
        entry = offered()
        almost = order_of(session, entry).hold_expires_at - timedelta(milliseconds=1)
        assert waitlist.accept(session, entry.id, actor_of(entry), CLOCKS, almost)

    @pytest.mark.parametrize("status", sorted(set(WaitlistStatus) - {WaitlistStatus.OFFERED, WaitlistStatus.ACCEPTED}))
    def test_without_an_offer_there_is_nothing_to_accept(self, session, status):
        entry = WaitlistFactory(status=status)
        with pytest.raises(ConflictError) as refusal:
            waitlist.accept(session, entry.id, actor_of(entry), CLOCKS, NOW)
        assert refusal.value.code == "no-offer"

    def test_it_is_for_the_person_it_was_made_to(self, session, person):
        entry = offered()
        for act in (
            lambda: waitlist.accept(session, entry.id, person, CLOCKS, NOW),
            lambda: waitlist.decline(session, entry.id, person, NOW),
            lambda: waitlist.leave(session, entry.id, person, NOW),
            lambda: waitlist.find(session, entry.id, person),
        ):
            with pytest.raises(NotFoundError):
                act()


class TestDecline:
    @pytest.mark.parametrize("act", [waitlist.decline, waitlist.leave])
    def test_the_stock_goes_to_the_next_in_line(self, session, announced, act):
        entry = offered()
        follower = WaitlistFactory(tier=entry.tier)
        act(session, entry.id, actor_of(entry), NOW)
        session.commit()
        order = order_of(session, entry)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.DECLINED)
        assert (entry.status, entry.response, entry.responded_at) == (WaitlistStatus.DECLINED, "declined", NOW)
        assert announced == [ServeTier(entry.tier_id)]
        allocation.serve(session, entry.tier_id, NOW, CLOCKS, batch=10)
        session.refresh(follower)
        assert follower.status is WaitlistStatus.OFFERED

    @pytest.mark.parametrize("act", [waitlist.decline, waitlist.leave])
    def test_repeating_it_changes_nothing(self, session, announced, act):
        entry = offered()
        act(session, entry.id, actor_of(entry), NOW)
        session.commit()
        announced.clear()
        act(session, entry.id, actor_of(entry), NOW + HOUR)
        session.commit()
        assert (entry.status, entry.responded_at, announced) == (WaitlistStatus.DECLINED, NOW, [])

    def test_there_must_be_an_offer(self, session):
        accepted = offered()
        waitlist.accept(session, accepted.id, actor_of(accepted), CLOCKS, NOW)
        for entry in (WaitlistFactory(), accepted):
            with pytest.raises(ConflictError) as refusal:
                waitlist.decline(session, entry.id, actor_of(entry), NOW)
            assert refusal.value.code == "no-offer"


class TestLeave:
    def test_leaves_the_line_for_good(self, session):
        entry = WaitlistFactory()
        for _ in range(2):
            waitlist.leave(session, entry.id, actor_of(entry), NOW)
        assert entry.status is WaitlistStatus.LEFT

    def test_an_offer_that_was_accepted_stays(self, session):
        entry = offered()
        waitlist.accept(session, entry.id, actor_of(entry), CLOCKS, NOW)
        waitlist.leave(session, entry.id, actor_of(entry), NOW)
        assert entry.status is WaitlistStatus.ACCEPTED
        assert order_of(session, entry).stage is OrderStage.HELD


def kinds(session, order):
    entries = select(TimelineEntry.kind).where(TimelineEntry.order_id == order.id).order_by(TimelineEntry.id)
    return list(session.scalars(entries))


class TestNotify:
    def test_the_mail_of_an_offer_is_written_once(self, session):
        entry = offered()
        for _ in range(2):
            waitlist.notify(session, entry.id, NOW)
        mail = session.scalars(select(EmailNotification)).one()
        assert (mail.template, mail.order_id, mail.user_id) == ("waitlist_offer", entry.offered_order_id, entry.user_id)
        assert entry.notified_at == NOW

    @pytest.mark.parametrize("status", sorted(set(WaitlistStatus) - {WaitlistStatus.OFFERED}))
    def test_nobody_else_gets_one(self, session, status):
        waitlist.notify(session, WaitlistFactory(status=status).id, NOW)
        waitlist.notify(session, uuid7(), NOW)
        assert session.scalars(select(EmailNotification)).all() == []

    def test_a_late_message_tells_nobody_of_an_offer_that_is_over(self, session):
        entry = offered(offer_expires_at=NOW - HOUR)
        waitlist.notify(session, entry.id, NOW)
        assert entry.notified_at is None

    def test_an_offer_whose_message_was_lost_is_found(self, session):
        late, early = offered(offered_at=NOW - HOUR), offered()
        offered(offered_at=NOW - HOUR, notified_at=NOW)
        assert waitlist.stalled(session, NOW - HOUR / 2) == [NotifyOffer(late.id)]
        assert NotifyOffer(early.id) in waitlist.stalled(session, NOW + HOUR)


def test_a_persons_entries_come_newest_first_with_one_more_than_asked_for(session, person):
    mine = [join(session, person, TicketTierFactory(quantity=0)).id for _ in range(4)]
    WaitlistFactory()
    assert [entry.id for entry in waitlist.list_own(session, person, limit=2, after=None)] == mine[:0:-1]
    assert [entry.id for entry in waitlist.list_own(session, person, limit=2, after=mine[1])] == [mine[0]]


def test_a_cancelled_event_ends_the_line_and_says_why(session):
    entry = offered()
    tier = entry.tier
    follower = WaitlistFactory(tier=tier)
    session.execute(update(Event).where(Event.id == tier.event_id).values(status="cancelled", cancelled_at=NOW))
    waitlist.decline(session, entry.id, actor_of(entry), NOW)
    allocation.serve(session, tier.id, NOW, CLOCKS, batch=10)
    session.refresh(follower)
    assert (follower.status, follower.unoffered_reason) == (WaitlistStatus.EXPIRED, "the event is cancelled")
    session.refresh(tier)
    assert (tier.reserved, entry.status) == (0, WaitlistStatus.DECLINED)
