from datetime import timedelta

import pytest
from sqlalchemy import select, text

from domain.invariants import orders
from domain.messages import RenderTickets, SendMail, ServeTier
from domain.models import EmailNotification, Order
from domain.rules.lifecycle import ENDED, HOLDING, MOVES
from domain.rules.states import InventoryState, OrderStage
from domain.transitions import lock_order, write
from tests.integration.domain.invariants.conftest import PATIENCE

LATER = PATIENCE + timedelta(seconds=10)


class TestOrdersAddUp:
    @pytest.mark.parametrize("change", ["subtotal = subtotal + 1, total = total + 1", "fees = fees + 1, tax = tax - 1"])
    def test_names_an_order_that_differs_from_its_items(self, house, change):
        house.order()
        wrong = house.order()
        house.corrupt(f"UPDATE orders SET {change} WHERE id = :id", id=wrong)
        assert house.broken() == {"orders_add_up": [wrong]}

    def test_names_a_total_that_is_no_sum(self, house):
        wrong = house.order()
        house.without("orders", "ck_orders_total_adds_up")
        house.corrupt("UPDATE orders SET total = total + 1 WHERE id = :id", id=wrong)
        assert house.broken() == {"orders_add_up": [wrong]}

    def test_names_an_order_without_items(self, house):
        wrong = house.order()
        house.corrupt("DELETE FROM order_items WHERE order_id = :id", id=wrong)
        assert house.broken() == {"orders_add_up": [wrong]}

    def test_names_an_item_with_another_number(self, house):
        wrong = house.order()
        house.corrupt("UPDATE order_items SET sequence = sequence + 1 WHERE order_id = :id", id=wrong)
        assert house.broken() == {"orders_add_up": [wrong]}


class TestStagesAreLegal:
    @pytest.mark.parametrize(
        ("stage", "change"),
        [
            (OrderStage.AWAITING_PAYMENT, "status = 'confirmed'"),
            (OrderStage.AWAITING_PAYMENT, "status = 'cancelled'"),
            (OrderStage.AWAITING_PAYMENT, "confirmed_at = now()"),
            (OrderStage.COMPLETE, "payment_status = 'pending'"),
            (OrderStage.COMPLETE, "confirmed_at = NULL"),
            (OrderStage.CLOSED, "reason = NULL"),
        ],
    )
    def test_names_the_order(self, house, stage, change):
        wrong = house.order(stage)
        for constraint in ("status_of_stage", "closed_status", "closed_reason"):
            house.without("orders", f"ck_orders_{constraint}")
        house.corrupt(f"UPDATE orders SET {change} WHERE id = :id", id=wrong)
        assert [breach.id for breach in house.look()["stages_are_legal"]] == [wrong]


class TestTimelineTellsStage:
    def test_names_the_order_that_moved_without_a_word(self, house):
        right, wrong = house.order(OrderStage.AWAITING_PAYMENT), house.order(OrderStage.AWAITING_PAYMENT)
        with house.sessions.begin() as session:
            for order_id in (right, wrong):
                write(session, lock_order(session, order_id), "payment_opened")
                write(session, lock_order(session, order_id), "mail_sent")
        assert house.broken() == {}
        house.corrupt("UPDATE orders SET stage = 'processing' WHERE id = :id", id=wrong)
        (breach,) = house.look()["timeline_tells_stage"]
        assert (breach.id, breach.fault) == (wrong, "stage processing, and its timeline ends with payment_opened")

    def test_every_stage_is_told_of(self):
        assert {stage for stages in orders.TOLD.values() for stage in stages} == set(MOVES)


class TestItemsFollowOrders:
    @pytest.mark.parametrize("stage", sorted(HOLDING - {OrderStage.PARTLY_HELD, OrderStage.EXPIRING}))
    def test_stock_that_was_let_go_too_early_is_named(self, house, stage):
        wrong = house.order(stage)
        assert house.broken() == {}
        item = house.item_of(wrong)
        house.corrupt("UPDATE order_items SET inventory_state = 'released' WHERE id = :id", id=item.id)
        (breach,) = house.look()["items_follow_orders"]
        assert (breach.id, breach.fault, breach.can_heal) == (item.id, f"{stage}, and an item is released", False)

    def test_stock_that_an_ended_order_keeps_goes_back_through_the_consumer(self, house):
        order_id = house.closed()
        item = house.item_of(order_id)
        house.corrupt("UPDATE order_items SET inventory_state = 'reserved' WHERE id = :id", id=item.id)
        house.corrupt("UPDATE ticket_tiers SET reserved = 1 WHERE id = :id", id=house.tier_id)
        assert house.broken() == {"items_follow_orders": [item.id]}
        assert house.heal() == 1
        assert house.item_of(order_id).desired_state is InventoryState.RELEASED
        assert house.announced == [ServeTier(house.tier_id)]
        house.serve()
        assert (house.tier().reserved, house.item_of(order_id).inventory_state) == (0, InventoryState.RELEASED)
        assert house.broken() == {}

    def test_stock_of_a_confirmed_order_is_sold_through_the_consumer(self, house):
        order_id = house.confirmed()
        item = house.item_of(order_id)
        house.corrupt("UPDATE order_items SET inventory_state = 'reserved' WHERE id = :id", id=item.id)
        house.corrupt("UPDATE ticket_tiers SET reserved = 1, sold = 0 WHERE id = :id", id=house.tier_id)
        assert house.broken()["items_follow_orders"] == [item.id]
        assert house.heal() == 1
        house.serve()
        assert (house.tier().reserved, house.tier().sold) == (0, 1)
        assert house.broken() == {}

    @pytest.mark.parametrize("stage", [OrderStage.QUEUED, OrderStage.QUARANTINED, OrderStage.COMPLETE])
    def test_no_other_stage_keeps_what_is_reserved(self, house, stage):
        item = house.item_of(house.order(stage))
        house.corrupt("UPDATE order_items SET inventory_state = 'reserved' WHERE id = :id", id=item.id)
        assert house.broken()["items_follow_orders"] == [item.id]

    def test_a_seat_that_somebody_went_in_to_stays_sold(self, house):
        order_id = house.confirmed()
        house.corrupt(
            "UPDATE tickets SET status = 'cancelled', checked_in_at = now() WHERE order_id = :id", id=order_id
        )
        house.corrupt("UPDATE orders SET stage = 'closed', status = 'refunded' WHERE id = :id", id=order_id)
        assert "items_follow_orders" not in house.broken()
        house.corrupt("UPDATE tickets SET checked_in_at = NULL WHERE order_id = :id", id=order_id)
        assert house.broken()["items_follow_orders"] == [house.item_of(order_id).id]


class TestWishesAreGranted:
    def test_names_the_item_and_rings_for_its_tier(self, house):
        order_id = house.closed()
        item = house.item_of(order_id)
        house.corrupt("UPDATE order_items SET desired_state = 'released' WHERE id = :id", id=item.id)
        assert house.broken() == {}
        assert house.broken(house.now + LATER) == {"wishes_are_granted": [item.id]}
        house.heal(house.now + LATER)
        assert house.announced == [ServeTier(house.tier_id)]
        house.serve()
        assert house.broken(house.now + LATER) == {}


class TestEndsInTime:
    @pytest.mark.parametrize("stage", sorted(HOLDING - {OrderStage.EXPIRING}))
    def test_names_an_order_whose_clock_ended_long_ago(self, house, stage):
        order_id = house.order(stage, hold_expires_at=house.now)
        assert house.broken(house.now + PATIENCE - timedelta(seconds=1)) == {}
        (breach,) = house.look(house.now + LATER)["ends_in_time"]
        assert (breach.id, breach.can_heal) == (order_id, False)
        assert breach.fault.startswith(f"{stage}, and its clock ended at ")

    def test_names_a_late_payment_that_nobody_answered(self, house):
        order_id = house.order(OrderStage.CLOSED, hold_expires_at=house.now)
        assert house.broken(house.now + LATER) == {"ends_in_time": [order_id]}

    @pytest.mark.parametrize("stage", sorted(HOLDING))
    def test_names_an_order_that_no_clock_will_end(self, house, stage):
        order_id = house.order(stage, hold_expires_at=None)
        (breach,) = house.look()["ends_in_time"]
        assert (breach.id, breach.fault) == (order_id, f"{stage}, and no clock runs")

    def test_rings_for_pictures_that_are_late(self, house):
        order_id = house.confirmed()
        assert house.broken() == {}
        assert house.broken(house.now + LATER) == {"ends_in_time": [order_id]}
        assert house.heal(house.now + LATER) == 1
        assert house.announced == [RenderTickets(order_id)]

    def test_a_quarantined_order_waits_for_a_person(self, house):
        order_id = house.order(OrderStage.QUARANTINED)
        (breach,) = house.look()["ends_in_time"]
        assert (breach.id, breach.fault) == (order_id, "was set aside, and waits for a person")

    def test_what_has_ended_has_all_the_time(self, house):
        house.closed()
        complete = house.confirmed()
        house.corrupt("UPDATE orders SET stage = 'complete' WHERE id = :id", id=complete)
        with house.sessions.begin() as session:
            write(session, lock_order(session, complete), "tickets_issued")
            assert {order.stage for order in session.scalars(select(Order))} == ENDED
        assert house.broken(house.now + timedelta(days=365)) == {}


class TestTicketsAreMailed:
    def test_names_the_order_and_writes_the_mail(self, house):
        house.confirmed()
        order_id = house.confirmed()
        house.corrupt("DELETE FROM email_notifications WHERE order_id = :id", id=order_id)
        assert house.broken() == {"tickets_are_mailed": [order_id]}
        assert house.heal() == 1
        with house.sessions() as session:
            mail = session.scalars(select(EmailNotification).filter_by(order_id=order_id)).one()
        assert (mail.template, mail.purpose) == ("order_confirmed", f"order_confirmed:{order_id}")
        assert house.announced == [SendMail(mail.id)]
        assert house.broken() == {}

    def test_whoever_has_no_tickets_any_more_needs_none(self, house):
        order_id = house.confirmed()
        house.corrupt("DELETE FROM email_notifications WHERE order_id = :id", id=order_id)
        house.corrupt("UPDATE orders SET stage = 'closed', status = 'refunded' WHERE id = :id", id=order_id)
        assert "tickets_are_mailed" not in house.broken()
        with house.sessions() as session:
            assert session.scalar(text("SELECT count(*) FROM email_notifications")) == 0
