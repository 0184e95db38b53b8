from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain import approvals, orders
from domain.audit import Actor
from domain.errors import ConflictError, ForbiddenError, NotFoundError
from domain.messages import CancelPayment, OpenPayment, ServeTier
from domain.models import AuditLog, EmailNotification
from domain.rules.states import InventoryState, OrderReason, OrderStage, OrderStatus, TeamRight, UserRole
from tests.factories import (
    OrderFactory,
    PaymentTransactionFactory,
    TeamMemberFactory,
    TicketTierFactory,
    UserFactory,
    bound_to,
)
from tests.integration.market import CLOCKS

NOW = datetime.now(UTC)
STAGES_AFTER_CANCELLING = {
    OrderStage.QUEUED: OrderStage.CLOSED,
    OrderStage.PARTLY_HELD: OrderStage.CLOSED,
    OrderStage.AWAITING_APPROVAL: OrderStage.CLOSED,
    OrderStage.OFFERED: OrderStage.CLOSED,
    OrderStage.QUARANTINED: OrderStage.CLOSED,
    # An intent may exist, and may have been paid: that is found out first.
    OrderStage.HELD: OrderStage.EXPIRING,
    OrderStage.AWAITING_PAYMENT: OrderStage.EXPIRING,
    OrderStage.PAYMENT_DELAYED: OrderStage.EXPIRING,
    OrderStage.PROCESSING: OrderStage.EXPIRING,
    # It ends already, for another reason.
    OrderStage.EXPIRING: OrderStage.EXPIRING,
    OrderStage.CLOSED: OrderStage.CLOSED,
    # Paid: that is a refund's business.
    OrderStage.ISSUING: None,
    OrderStage.COMPLETE: None,
}
ENDING = {stage for stage, after in STAGES_AFTER_CANCELLING.items() if after not in {None, stage}}


@pytest.fixture
def rows(session):
    with bound_to(session):
        yield session


def actor_of(user):
    return Actor(user_id=user.id, role=user.role)


def buyer_of(order):
    return Actor(user_id=order.user_id, role=UserRole.USER)


def cancel(session, order, user=None):
    orders.cancel(session, order.id, actor_of(user) if user else buyer_of(order), NOW, CLOCKS)
    session.commit()
    session.refresh(order)


def mails(session):
    return list(session.scalars(select(EmailNotification.template)))


def acts(session):
    return list(session.scalars(select(AuditLog.action)))


class TestCancel:
    def test_every_stage_is_decided(self):
        assert set(STAGES_AFTER_CANCELLING) == set(OrderStage)

    @pytest.mark.parametrize("stage", sorted(ENDING))
    def test_an_order_that_is_not_paid_ends_and_gives_its_stock_back(self, session, rows, announced, stage):
        order = OrderFactory(stage=stage)
        (item,) = order.items
        kept = item.inventory_state in {InventoryState.QUEUED, InventoryState.RESERVED}
        cancel(session, order)
        assert order.stage is STAGES_AFTER_CANCELLING[stage]
        assert order.reason is OrderReason.BUYER_CANCELLED
        assert acts(session) == ["order.cancel"]
        if order.stage is OrderStage.CLOSED:
            assert (order.status, order.cancelled_at, order.hold_expires_at) == (OrderStatus.CANCELLED, NOW, None)
            assert item.desired_state == (InventoryState.RELEASED if kept else None)
            assert announced == ([ServeTier(item.tier_id)] if kept else [])
        else:
            assert (order.status, order.cancelled_at, item.desired_state) == (OrderStatus.PENDING, None, None)
            # The stock is kept meanwhile, but not for ever.
            assert order.hold_expires_at == NOW + timedelta(seconds=120)
            assert announced == [CancelPayment(order.id)]

    @pytest.mark.parametrize("stage", sorted(ENDING))
    def test_repeating_it_changes_nothing(self, session, rows, announced, stage):
        order = OrderFactory(stage=stage)
        cancel(session, order)
        version = order.version
        announced.clear()
        cancel(session, order)
        assert (order.version, announced, acts(session)) == (version, [], ["order.cancel"])

    @pytest.mark.parametrize("stage", [OrderStage.EXPIRING, OrderStage.CLOSED])
    def test_an_order_that_ends_already_keeps_its_reason(self, session, rows, announced, stage):
        order = OrderFactory(stage=stage)
        reason, version = order.reason, order.version
        cancel(session, order)
        assert (order.stage, order.reason, order.version, announced) == (stage, reason, version, [])

    @pytest.mark.parametrize("stage", [OrderStage.ISSUING, OrderStage.COMPLETE])
    def test_a_paid_order_is_not_cancelled(self, session, rows, stage):
        order = OrderFactory(stage=stage)
        with pytest.raises(ConflictError) as refusal:
            cancel(session, order)
        assert refusal.value.code == "not-cancellable"

    def test_a_free_held_order_has_no_intent_and_closes_at_once(self, session, rows, announced):
        order = OrderFactory(stage=OrderStage.HELD, tier=TicketTierFactory(price=0))
        cancel(session, order)
        assert (order.stage, order.reason) == (OrderStage.CLOSED, OrderReason.BUYER_CANCELLED)
        assert announced == [ServeTier(order.items[0].tier_id)]

    def test_it_is_the_buyers_business_alone(self, session, rows):
        order = OrderFactory()
        for stranger in (UserFactory(), UserFactory(role=UserRole.ADMIN), order.event.promoter.user):
            with pytest.raises(NotFoundError):
                cancel(session, order, stranger)
        with pytest.raises(NotFoundError):
            orders.cancel(session, uuid7(), buyer_of(order), NOW, CLOCKS)


@pytest.fixture
def pending(rows):
    return OrderFactory(stage=OrderStage.AWAITING_APPROVAL, tier=TicketTierFactory(requires_approval=True))


class TestApproval:
    def test_the_events_promoter_lets_it_go_on_to_payment(self, session, pending, announced):
        approvals.approve(session, pending.id, actor_of(pending.event.promoter.user), CLOCKS, NOW)
        session.commit()
        session.refresh(pending)
        assert pending.stage is OrderStage.HELD
        assert pending.hold_expires_at == pending.hold_limit_at == NOW + timedelta(seconds=1200)
        assert OpenPayment(pending.id) in announced
        assert mails(session) == ["order_held"]
        assert acts(session) == ["order.approve"]

    def test_or_declines_it_and_the_stock_goes_back(self, session, pending, announced):
        approvals.decline(session, pending.id, actor_of(pending.event.promoter.user), NOW)
        session.commit()
        session.refresh(pending)
        assert (pending.stage, pending.reason) == (OrderStage.CLOSED, OrderReason.DECLINED)
        assert pending.items[0].desired_state is InventoryState.RELEASED
        assert ServeTier(pending.items[0].tier_id) in announced
        assert mails(session) == ["order_cancelled"]
        assert acts(session) == ["order.decline"]

    def test_so_may_an_admin(self, session, pending):
        approvals.approve(session, pending.id, actor_of(UserFactory(role=UserRole.ADMIN)), CLOCKS, NOW)
        assert pending.stage is OrderStage.HELD

    @pytest.mark.parametrize("role", [UserRole.USER, UserRole.PROMOTER])
    def test_to_anybody_else_there_is_no_such_order(self, session, pending, role):
        stranger = actor_of(UserFactory(role=role))
        with pytest.raises(NotFoundError):
            approvals.approve(session, pending.id, stranger, CLOCKS, NOW)
        with pytest.raises(NotFoundError):
            approvals.decline(session, pending.id, stranger, NOW)

    def test_its_buyer_is_told_that_the_organiser_decides(self, session, pending):
        with pytest.raises(ForbiddenError):
            approvals.approve(session, pending.id, buyer_of(pending), CLOCKS, NOW)

    def test_team_members_need_the_right_to_sell(self, session, pending):
        promoter_id = pending.event.promoter_id
        scanner = TeamMemberFactory(promoter_id=promoter_id, rights=[TeamRight.SCAN, TeamRight.MANAGE]).user
        with pytest.raises(NotFoundError):
            approvals.approve(session, pending.id, actor_of(scanner), CLOCKS, NOW)
        seller = TeamMemberFactory(promoter_id=promoter_id, rights=[TeamRight.SELL]).user
        approvals.approve(session, pending.id, actor_of(seller), CLOCKS, NOW)
        assert pending.stage is OrderStage.HELD

    @pytest.mark.parametrize("stage", sorted(set(OrderStage) - {OrderStage.AWAITING_APPROVAL}))
    def test_no_other_stage_awaits_it(self, session, rows, stage):
        order = OrderFactory(stage=stage)
        promoter = actor_of(order.event.promoter.user)
        for act in (
            lambda: approvals.approve(session, order.id, promoter, CLOCKS, NOW),
            lambda: approvals.decline(session, order.id, promoter, NOW),
        ):
            with pytest.raises(ConflictError) as refusal:
                act()
            assert refusal.value.code == "not-awaiting-approval"


class TestReading:
    def test_an_order_is_for_its_buyer_its_promoter_and_admins(self, session, rows):
        order = OrderFactory()
        promoter, admin = actor_of(order.event.promoter.user), actor_of(UserFactory(role=UserRole.ADMIN))
        for viewer in (buyer_of(order), promoter, admin):
            assert orders.find(session, order.id, viewer).id == order.id

    @pytest.mark.parametrize("role", [UserRole.USER, UserRole.PROMOTER])
    def test_to_others_it_looks_like_an_unknown_one(self, session, rows, role):
        order, stranger = OrderFactory(), actor_of(UserFactory(role=role))
        refusals = []
        for order_id in (order.id, uuid7()):
            with pytest.raises(NotFoundError) as refusal:
                orders.find(session, order_id, stranger)
            refusals.append((refusal.value.code, refusal.value.detail))
        assert refusals[0] == refusals[1]

    def test_a_buyers_own_orders_come_newest_first_with_one_more_than_asked_for(self, session, rows):
        buyer = UserFactory()
        mine = [OrderFactory(user=buyer).id for _ in range(4)]
        OrderFactory()
        page = orders.list_own(session, buyer.id, limit=2, after=None)
        assert [order.id for order in page] == mine[:0:-1]
        rest = orders.list_own(session, buyer.id, limit=2, after=mine[2])
        assert [order.id for order in rest] == [mine[1], mine[0]]

    def test_tickets_and_last_charges_are_found_by_order(self, session, rows):
        paid, waiting = OrderFactory(stage=OrderStage.COMPLETE, quantity=2), OrderFactory()
        again = PaymentTransactionFactory(order=paid, attempt=2)
        tickets = orders.find_tickets(session, [paid.id, waiting.id])
        assert [ticket.position for ticket in tickets[paid.id]] == [1, 2]
        assert tickets[waiting.id] == []
        assert orders.find_last_charges(session, [paid.id, waiting.id]) == {paid.id: again}
