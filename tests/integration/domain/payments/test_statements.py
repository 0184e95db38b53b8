from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from uuid_utils.compat import uuid7

from domain.audit import Actor
from domain.errors import ForbiddenError, NotFoundError, RetryableVendorError, UnknownOutcomeError
from domain.messages import MakeStatement
from domain.models import Event, Order, Statement, TicketTier
from domain.payments import statements
from domain.rules.states import AttemptStatus, EventStatus, OrderReason, OrderStage, UserRole
from tests.factories import EventFactory, OrderFactory, PromoterFactory, StatementFactory, TicketTierFactory, bound_to
from tests.integration.market import CLOCKS

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")
CUT = UnknownOutcomeError("Stripe did not answer.", code="connection")


class Box:
    """One event's box office: sells its tickets at the till, and draws up its statements."""

    def __init__(self, till, account=None, **event):
        self.till = till
        with till.sessions.begin() as session, bound_to(session):
            event = EventFactory(promoter=PromoterFactory(stripe_account_id=account), **event)
            self.tier = TicketTierFactory(event=event, price=4000)
        self.event_id = self.tier.event_id

    def hold(self, quantity=1):
        with self.till.sessions.begin() as session, bound_to(session):
            tier = session.get_one(TicketTier, self.tier.id)
            return OrderFactory(tier=tier, quantity=quantity, stage=OrderStage.HELD, with_payment=False).id

    def open(self):
        order_id = self.hold()
        self.till.open(order_id)
        return order_id

    def sell(self, quantity=2):
        order_id = self.hold(quantity)
        self.till.open(order_id)
        self.till.pay(order_id)
        self.complete(order_id)
        return order_id

    def complete(self, order_id):
        self.change("UPDATE orders SET stage = 'complete' WHERE id = :id", id=order_id)

    def change(self, statement, **values):
        with self.till.sessions.begin() as session:
            session.execute(text(statement), values)

    def request(self):
        with self.till.sessions.begin() as session:
            statements.request(session, self.event_id)
        return [message.statement_id for message in self.till.heard(MakeStatement)]

    def make(self):
        (statement_id,) = self.request()
        statements.make(self.till.sessions, self.till.gateway, statement_id)
        return self.read(statement_id)

    def read(self, statement_id):
        with self.till.sessions() as session:
            return session.get_one(Statement, statement_id)

    def intent(self, order_id):
        return self.till.gateway.intents[self.till.read(order_id).stripe_payment_intent_id]


def named(mismatches):
    return [(found["kind"], found["order_number"], found["difference"]) for found in mismatches]


@pytest.fixture
def box(till):
    return Box(till)


class TestWhatAgrees:
    def test_an_event_that_sold_and_refunded_has_no_difference(self, box, till):
        kept, part, whole = box.sell(), box.sell(3), box.sell()
        box.hold()
        till.refund(part, 1000)
        till.refund(whole)
        made = box.make()
        total = {order_id: till.read(order_id).total for order_id in (kept, part, whole)}
        expected = {
            "charged": sum(total.values()),
            "fees": 0,
            "refunded": 1000 + total[whole],
            "disputed": 0,
            "kept": total[kept] + total[part] - 1000,
        }
        assert (made.difference, made.body["mismatches"], made.body["moving"]) == (0, [], [])
        assert made.body["provider"] == made.body["ledger"] == expected
        assert made.body["tickets"] == {"live": 5, "face_value": 5 * 4000}
        ledger = [amount for order_id in total for kind, amount in till.ledger(order_id) if kind == "fee"]
        assert made.body["unsplit_fees"] == -sum(ledger) > 0
        assert made.body["currency"] == till.read(kept).currency

    def test_fees_of_a_connected_account_are_compared_with_those_that_the_provider_took(self, till):
        box = Box(till, account="acct_1")
        order_id = box.sell()
        order = till.read(order_id)
        till.refund(order_id, 999)
        made = box.make()
        assert made.difference == 0
        assert 0 < made.body["provider"]["fees"] == made.body["ledger"]["fees"] < order.fees
        assert made.body["unsplit_fees"] == 0

    @pytest.mark.parametrize("account", [None, "acct_1"])
    @pytest.mark.parametrize("status", ["succeeded", "pending"])
    def test_a_refund_that_comes_back_keeps_them_equal(self, till, account, status, monkeypatch):
        box = Box(till, account=account)
        order_id = box.sell()
        order = till.read(order_id)
        gateway = till.gateway
        refunding = gateway.refund

        def refund(request, key):
            made = replace(refunding(request, key), status=status)
            gateway.refunds[made.id] = made
            return made

        monkeypatch.setattr(gateway, "refund", refund)
        refund_id = till.refund(order_id, 999)
        (made,) = gateway.refunds.values()
        gateway.refunds[made.id] = replace(made, status="failed", failure_reason="lost_or_stolen_card")
        till.receive(till.event({"object": "refund", "id": made.id}, "refund.failed"))
        assert till.refunds(order_id)[0].id == refund_id
        assert till.refunds(order_id)[0].status is AttemptStatus.FAILED
        statement = box.make()
        assert (statement.difference, statement.body["ledger"]["refunded"]) == (0, 0)
        kept = -sum(amount for kind, amount in till.ledger(order_id) if kind == "fee")
        assert kept < order.fees if account else kept == order.fees
        monkeypatch.undo()
        till.now += timedelta(minutes=1)
        till.refund(order_id)
        assert box.make().difference == 0

    def test_a_ticket_that_was_used_before_its_refund_is_right(self, box, till):
        order_id = box.sell()
        box.change(
            "UPDATE tickets SET status = 'used', checked_in_at = now() WHERE order_id = :id AND position = 1",
            id=order_id,
        )
        till.refund(order_id)
        made = box.make()
        assert (made.difference, made.body["tickets"]["live"]) == (0, 0)

    def test_a_payment_after_the_end_that_went_back_is_right(self, box, till):
        order_id = box.open()
        till.give_up(order_id, OrderReason.BUYER_CANCELLED)
        till.advance(seconds=CLOCKS.expiring_limit_seconds)
        till.expire()
        till.pay_by_client(order_id)
        till.cancel(order_id)
        (refund,) = till.refunds(order_id)
        assert [found[0] for found in named(box.make().body["moving"])] == ["paid_without_tickets"]
        till.carry_out(refund.id)
        made = box.make()
        assert (made.difference, made.body["moving"]) == (0, [])

    def test_an_event_that_sold_nothing_has_a_statement_too(self, box):
        assert box.make().difference == 0


class TestWhatDoesNot:
    def test_each_corruption_is_itemised_with_its_order(self, box, till):
        refunded, gone, unpaid, right = box.sell(), box.sell(), box.sell(), box.sell()
        intent = box.intent(refunded)
        # By hand, in the provider's dashboard.
        till.gateway.refunds["re_hand"] = replace(
            _some_refund(till, right), id="re_hand", intent_id=intent.id, amount=700
        )
        box.change("UPDATE tickets SET status = 'cancelled' WHERE order_id = :id", id=gone)
        till.refund(unpaid)
        box.change("UPDATE tickets SET status = 'valid' WHERE order_id = :id", id=unpaid)
        made = box.make()
        number = {order_id: till.read(order_id).number for order_id in (refunded, gone, unpaid)}
        expected = [
            ("paid_without_tickets", number[gone], till.read(gone).total),
            ("tickets_without_payment", number[unpaid], -8000),
            ("refunded", number[refunded], 700),
        ]
        assert sorted(named(made.body["mismatches"])) == sorted(expected)
        assert made.difference == sum(abs(difference) for _, _, difference in expected)
        assert made.body["mismatch_counts"] == {"paid_without_tickets": 1, "tickets_without_payment": 1, "refunded": 1}
        assert next(found for found in made.body["mismatches"] if found["kind"] == "refunded") == {
            "kind": "refunded",
            "order_id": str(refunded),
            "order_number": number[refunded],
            "charge_id": intent.charge_id,
            "provider": 700,
            "ledger": 0,
            "tickets": None,
            "difference": 700,
        }

    def test_a_charge_that_the_provider_does_not_have_or_only_the_provider_has(self, box, till):
        lost, stray = box.sell(), box.sell()
        intent = box.intent(stray)
        till.gateway.intents["pi_stray"] = replace(intent, id="pi_stray", charge_id="ch_stray")
        till.gateway._requests["pi_stray"] = till.gateway._requests[intent.id]
        till.gateway.intents[box.intent(lost).id] = replace(box.intent(lost), status="canceled")
        made = box.make()
        assert sorted(found["kind"] for found in made.body["mismatches"]) == [
            "missing_at_provider",
            "missing_in_ledger",
        ]
        assert made.difference == till.read(lost).total + intent.amount

    def test_an_attempt_that_was_found_to_be_another_payment_is_no_excuse(self, box, till):
        order_id = box.open()
        till.pay_by_client(order_id)
        till.gateway.intents[box.intent(order_id).id] = replace(box.intent(order_id), amount=1, amount_received=1)
        till.settle(order_id)
        assert named(box.make().body["mismatches"]) == [("missing_in_ledger", till.read(order_id).number, 1)]

    def test_only_the_largest_are_listed_and_all_are_counted(self, box, monkeypatch):
        monkeypatch.setattr(statements, "LISTED", 1)
        box.sell(1)
        large = box.sell(2)
        box.change("UPDATE tickets SET status = 'cancelled'")
        body = box.make().body
        assert [found["order_id"] for found in body["mismatches"]] == [str(large)]
        assert body["mismatch_counts"] == {"paid_without_tickets": 2}

    def test_a_difference_is_logged_as_an_error_that_names_the_event(self, box, caplog):
        box.make()
        assert "statement.difference" not in caplog.text
        box.sell()
        box.change("UPDATE tickets SET status = 'cancelled'")
        box.make()
        (record,) = [record for record in caplog.records if "statement.difference" in record.message]
        assert record.levelname == "ERROR"
        assert str(box.event_id) in record.message


class TestSearchThatLags:
    def test_a_charge_that_it_does_not_show_yet_is_read_by_its_intent(self, busy_till, monkeypatch):
        box = Box(busy_till)
        box.sell()
        monkeypatch.setattr(busy_till.gateway, "list_charges", lambda _: iter(()))
        made = box.make()
        assert (made.difference, made.body["mismatches"], made.body["provider"]["charged"] > 0) == (0, [], True)

    def test_a_refund_that_it_does_not_show_yet_is_read_by_its_intent(self, busy_till, monkeypatch):
        box = Box(busy_till)
        order_id = box.sell()
        stale = list(busy_till.gateway.list_charges(box.event_id))
        busy_till.refund(order_id, 500)
        monkeypatch.setattr(busy_till.gateway, "list_charges", lambda _: iter(stale))
        made = box.make()
        assert (made.difference, made.body["provider"]["refunded"]) == (0, 500)


class TestWhatMoves:
    def test_a_payment_that_nobody_has_heard_of_yet(self, box, till):
        order_id = box.open()
        till.pay_by_client(order_id)
        made = box.make()
        order = till.read(order_id)
        assert (made.difference, made.body["mismatches"]) == (0, [])
        assert named(made.body["moving"]) == [("missing_in_ledger", order.number, order.total)]
        till.settle(order_id)
        box.complete(order_id)
        assert (box.make().body["moving_count"], till.read(order_id).payment_status) == (0, "completed")

    def test_a_refund_whose_answer_was_lost(self, box, till):
        order_id = box.sell()
        till.gateway.fail("refund", CUT, after=True)
        refund_id = till.refund(order_id, 500)
        made = box.make()
        assert (made.difference, named(made.body["moving"])) == (0, [("refunded", till.read(order_id).number, 500)])
        till.carry_out(refund_id)
        assert box.make().body["moving"] == []

    def test_stock_that_is_asked_for_again_for_a_late_payment(self, box, till):
        order_id = box.sell()
        box.change("UPDATE tickets SET status = 'cancelled' WHERE order_id = :id", id=order_id)
        box.change(
            "UPDATE orders SET stage = 'closed', status = 'cancelled', reason = 'hold_expired',"
            " hold_expires_at = now() WHERE id = :id",
            id=order_id,
        )
        made = box.make()
        assert (made.difference, [found["kind"] for found in made.body["moving"]]) == (0, ["paid_without_tickets"])

    def test_what_was_touched_while_the_provider_was_asked(self, busy_till, monkeypatch):
        box = Box(busy_till)
        order_id = box.sell()
        ask = busy_till.gateway.list_charges

        def ask_slowly(group):
            charges = list(ask(group))
            busy_till.refund(order_id, 500)
            yield from charges

        with monkeypatch.context() as patch:
            patch.setattr(busy_till.gateway, "list_charges", ask_slowly)
            patch.setattr(busy_till.gateway, "find_charge", lambda _: None)
            made = box.make()
        assert (made.difference, [found["kind"] for found in made.body["moving"]]) == (0, ["refunded"])
        made = box.make()
        assert (made.difference, made.body["moving"]) == (0, [])


class TestMaking:
    def test_it_is_asked_for_once_until_it_is_made(self, box, till):
        (statement_id,) = box.request()
        assert box.request() == []
        statements.make(till.sessions, till.gateway, statement_id)
        statements.make(till.sessions, till.gateway, statement_id)
        assert till.gateway.calls.count("list_charges") == 1
        assert len(box.request()) == 1

    def test_a_provider_in_trouble_leaves_it_to_the_sweep(self, box, till):
        (statement_id,) = box.request()
        till.gateway.fail("list_charges", DOWN)
        statements.make(till.sessions, till.gateway, statement_id)
        assert box.read(statement_id).made_at is None
        now = datetime.now(UTC)
        with till.sessions() as session:
            assert statements.stalled(session, now) == []
            assert statements.stalled(session, now + 2 * statements.PAUSE) == [MakeStatement(statement_id)]
        statements.make(till.sessions, till.gateway, statement_id)
        assert box.read(statement_id).difference == 0

    def test_nobody_else_begins_while_a_long_list_is_read(self, busy_till, monkeypatch):
        monkeypatch.setattr(statements, "SIGN_OF_LIFE", 1)
        box = Box(busy_till)
        box.sell()
        (statement_id,) = box.request()
        seen = []
        ask = busy_till.gateway.list_charges

        def ask_slowly(group):
            box.change("UPDATE statements SET requested_at = now() - interval '1 hour'")
            yield from ask(group)
            seen.append(box.read(statement_id).requested_at)

        monkeypatch.setattr(busy_till.gateway, "list_charges", ask_slowly)
        statements.make(busy_till.sessions, busy_till.gateway, statement_id)
        assert datetime.now(UTC) - seen[0] < timedelta(minutes=1)

    def test_every_event_whose_money_moved_lately_gets_one(self, box, till):
        box.sell()
        Box(till)
        with till.sessions.begin() as session:
            assert statements.request_recent(session, till.now) == 1
            assert statements.request_recent(session, till.now + timedelta(days=3)) == 0
        (message,) = till.heard(MakeStatement)
        assert box.read(message.statement_id).event_id == box.event_id

    def test_old_ones_are_deleted_once_they_have_a_successor(self, box, till):
        made = till.now - timedelta(days=31)
        with till.sessions.begin() as session, bound_to(session):
            event = session.get_one(Event, box.event_id)
            values = {"event": event, "body": {}, "difference": 0}
            old = StatementFactory(**values, made_at=made - timedelta(days=1))
            last = StatementFactory(**values, made_at=made)
            statements.delete_superseded(session, till.now)
        with till.sessions() as session:
            assert session.scalars(select(Statement.id)).all() == [last.id]
        assert old.id != last.id

    def test_only_what_was_published_can_have_sold(self, box, till):
        Box(till, status=EventStatus.DRAFT)
        with till.sessions() as session:
            assert statements.find_sold_events(session) == [box.event_id]


class TestConsulting:
    ADMIN = Actor(user_id=uuid7(), role=UserRole.ADMIN)

    def consult(self, box, now, actor=ADMIN):
        with box.till.sessions.begin() as session:
            return statements.consult(session, actor, box.event_id, now)

    def test_the_first_reader_has_it_made_and_an_old_one_is_renewed(self, box, till):
        assert self.consult(box, till.now) == (None, True)
        (message,) = till.heard(MakeStatement)
        statements.make(till.sessions, till.gateway, message.statement_id)
        last, is_renewed = self.consult(box, till.now)
        assert (last.id, is_renewed) == (message.statement_id, False)
        last, is_renewed = self.consult(box, till.now + timedelta(seconds=61))
        assert (last.id, is_renewed, len(till.heard(MakeStatement))) == (message.statement_id, True, 1)
        assert self.consult(box, till.now)[1]

    def test_it_is_for_the_promoter_and_for_admins(self, box, till):
        stranger = Actor(user_id=uuid7(), role=UserRole.PROMOTER)
        with pytest.raises(ForbiddenError):
            self.consult(box, till.now, stranger)
        box.change("UPDATE events SET is_private = true")
        with pytest.raises(NotFoundError):
            self.consult(box, till.now, stranger)
        promoter = Actor(user_id=box.tier.event.promoter.user_id, role=UserRole.PROMOTER)
        assert self.consult(box, till.now, promoter) == (None, True)


def _some_refund(till, order_id):
    refund_id = till.refund(order_id, 1)
    with till.sessions():
        return till.gateway.refunds[
            next(row.provider_transaction_id for row in till.refunds(order_id) if row.id == refund_id)
        ]


def test_free_orders_count_their_tickets(till):
    box = Box(till)
    with till.sessions.begin() as session, bound_to(session):
        free = TicketTierFactory(event=session.get_one(Event, box.event_id), price=0)
        OrderFactory(tier=free, quantity=3, stage="complete")
        assert session.scalar(select(Order.total).where(Order.event_id == box.event_id)) == 0
    made = box.make()
    assert (made.difference, made.body["tickets"]) == (0, {"live": 3, "face_value": 0})
