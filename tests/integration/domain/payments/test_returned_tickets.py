from dataclasses import replace

import pytest
from sqlalchemy import select, update

from domain.audit import Actor
from domain.errors import ConflictError, InvalidError, PermanentVendorError
from domain.messages import ServeTier
from domain.models import EmailNotification, Event, Ticket
from domain.rules.states import AttemptStatus, InventoryState, OrderStage, OrderStatus, TicketStatus, UserRole
from tests.factories import OrderFactory, TicketTierFactory, UserFactory, bound_to

REFUSED = PermanentVendorError("No.", code="invalid_request_error")
REFUNDED, VALID, USED = TicketStatus.REFUNDED, TicketStatus.VALID, TicketStatus.USED


@pytest.fixture
def paid(till):
    return till.sold(quantity=3)


def let_in(till, ticket):
    with till.sessions.begin() as session:
        session.execute(update(Ticket).where(Ticket.id == ticket.id).values(status=USED, checked_in_at=till.now))


def states(till, order_id):
    return [ticket.status for ticket in till.tickets(order_id)]


def seats(till, order_id):
    return [(item.desired_state, item.desired_returned) for item in till.read(order_id).items]


def bounce(till, order_id):
    refund = till.refunds(order_id)[-1]
    made = till.gateway.refunds[refund.provider_transaction_id]
    till.gateway.refunds[made.id] = replace(made, status="failed", failure_reason="lost_or_stolen_card")
    till.receive(till.event({"object": "refund", "id": made.id}, "refund.failed"))


class TestRequest:
    def test_tickets_are_worth_their_share_and_keep_their_refund(self, till, paid):
        total, first = till.read(paid).total, till.tickets(paid)[:1]
        refund_id = till.request_refund(paid, tickets=first)
        assert till.refunds(paid)[0].amount == pytest.approx(total / 3, abs=1)
        assert [ticket.refund_id for ticket in till.tickets(paid)] == [refund_id, None, None]
        assert not till.tickets(paid)[0].is_valid
        assert states(till, paid) == [VALID] * 3

    def test_the_shares_add_up_to_the_order(self, till, paid):
        for ticket in reversed(till.tickets(paid)):
            till.refund(paid, tickets=[ticket])
        order = till.read(paid)
        assert (order.refunded, order.status) == (order.total, OrderStatus.REFUNDED)
        assert sum(amount for _, amount in till.ledger(paid)) == 0

    def test_where_a_part_went_back_before_what_is_left_is_given(self, till, paid):
        total = till.read(paid).total
        till.refund(paid, total - 10)
        till.refund(paid, tickets=till.tickets(paid)[:1])
        assert till.refunds(paid)[1].amount == 10

    def test_all_that_is_left_takes_all_the_tickets_that_are_left(self, till, paid):
        first, second = (till.request_refund(paid, tickets=tickets) for tickets in (till.tickets(paid)[:1], ()))
        assert [ticket.refund_id for ticket in till.tickets(paid)] == [first, second, second]

    @pytest.mark.parametrize("finish", [True, False])
    def test_none_is_refunded_twice(self, till, paid, finish):
        first = till.tickets(paid)[0]
        refund_id = till.request_refund(paid, tickets=[first])
        if finish:
            till.carry_out(refund_id)
        with pytest.raises(ConflictError) as refusal:
            till.request_refund(paid, tickets=[till.tickets(paid)[1], first])
        assert (refusal.value.code, refusal.value.pointer) == ("ticket-not-refundable", "/tickets/1")

    def test_another_orders_ticket_is_none(self, till, paid):
        foreign = till.tickets(till.sold())[0]
        with pytest.raises(InvalidError) as refusal:
            till.request_refund(paid, tickets=[till.tickets(paid)[0], foreign])
        assert refusal.value.pointer == "/tickets/1"

    def test_free_tickets_have_nothing_to_give_back(self, till):
        with till.sessions.begin() as session, bound_to(session):
            tier = TicketTierFactory()
            free = TicketTierFactory(event=tier.event, price=0)
            order_id = OrderFactory(stage=OrderStage.HELD, with_payment=False, contents={tier: 1, free: 1}).id
        till.open(order_id)
        till.pay(order_id)
        (ticket,) = (ticket for ticket in till.tickets(order_id) if ticket.tier_id == free.id)
        with pytest.raises(ConflictError) as refusal:
            till.request_refund(order_id, tickets=[ticket])
        assert (refusal.value.code, refusal.value.pointer) == ("nothing-to-refund", "/tickets")


class TestSuccess:
    def test_those_tickets_end_and_their_seats_go_back_while_the_order_lives_on(self, till, paid):
        till.refund(paid, tickets=till.tickets(paid)[:2])
        order = till.read(paid)
        assert states(till, paid) == [REFUNDED, REFUNDED, VALID]
        assert (order.stage, order.refunded) == (OrderStage.ISSUING, till.refunds(paid)[0].amount)
        assert seats(till, paid) == [(InventoryState.SOLD, 2)]
        assert till.heard(ServeTier) == [ServeTier(order.items[0].tier_id)]

    def test_the_wish_is_the_new_total(self, till, paid):
        for ticket in till.tickets(paid)[:2]:
            till.refund(paid, tickets=[ticket])
        assert seats(till, paid) == [(InventoryState.SOLD, 2)]

    def test_the_last_one_closes_the_order_and_releases_the_item(self, till, paid):
        for ticket in till.tickets(paid):
            till.refund(paid, tickets=[ticket])
        assert till.read(paid).stage is OrderStage.CLOSED
        assert seats(till, paid)[0][0] is InventoryState.RELEASED

    def test_the_seat_of_a_used_ticket_is_not_free(self, till, paid):
        used, other, _ = till.tickets(paid)
        let_in(till, used)
        till.refund(paid, tickets=[used])
        assert (states(till, paid), seats(till, paid)) == ([REFUNDED, VALID, VALID], [(None, None)])
        till.refund(paid, tickets=[other])
        assert seats(till, paid) == [(InventoryState.SOLD, 1)]
        till.refund(paid)
        assert (till.read(paid).stage, seats(till, paid)) == (OrderStage.CLOSED, [(InventoryState.SOLD, 2)])

    def test_an_amount_takes_no_ticket(self, till, paid):
        till.refund(paid, 100)
        assert (states(till, paid), seats(till, paid)) == ([VALID] * 3, [(None, None)])

    def test_the_mail_says_how_many(self, till, paid):
        till.refund(paid, tickets=till.tickets(paid)[:2])
        till.refund(paid)
        query = select(EmailNotification.context).where(EmailNotification.template == "order_refunded")
        with till.sessions() as session:
            contexts = session.scalars(query.order_by(EmailNotification.id)).all()
        assert contexts == [{"returned_tickets": 2}, {}]


class TestFailure:
    def test_the_tickets_are_valid_again(self, till, paid, gateway):
        gateway.fail("refund", REFUSED)
        till.refund(paid, tickets=till.tickets(paid)[:1])
        assert [ticket.refund_id for ticket in till.tickets(paid)] == [None] * 3
        assert all(ticket.is_valid for ticket in till.tickets(paid))
        till.refund(paid, tickets=till.tickets(paid)[:1])
        assert states(till, paid) == [REFUNDED, VALID, VALID]

    def test_they_move_to_the_attempt_that_follows(self, till, paid, gateway):
        gateway.fail("refund", PermanentVendorError("Too low.", code="insufficient_balance_for_refund"))
        till.refund(paid, tickets=till.tickets(paid)[:1])
        first, second = till.refunds(paid)
        assert (first.status, second.error_code) == (AttemptStatus.FAILED, "insufficient_balance_for_refund")
        assert till.tickets(paid)[0].refund_id == second.id
        assert "refund_failed" not in till.timeline(paid)
        till.carry_out(second.id)
        assert states(till, paid) == [REFUNDED, VALID, VALID]
        assert till.refunds(paid)[1].error_code is None

    def test_money_that_came_back_is_owed_for_tickets_that_are_gone(self, till, paid):
        till.refund(paid, tickets=till.tickets(paid)[:1])
        bounce(till, paid)
        assert (till.read(paid).refunded, states(till, paid)) == (0, [REFUNDED, VALID, VALID])
        follower = till.refunds(paid)[-1]
        assert (follower.status, till.tickets(paid)[0].refund_id) == (AttemptStatus.CREATED, follower.id)
        till.carry_out(follower.id)
        assert till.read(paid).refunded == follower.amount
        assert seats(till, paid) == [(InventoryState.SOLD, 1)]

    def test_an_order_without_tickets_ends_although_money_is_still_owed(self, till, paid):
        first, *others = till.tickets(paid)
        till.refund(paid, tickets=[first])
        bounce(till, paid)
        till.refund(paid, tickets=others)
        order = till.read(paid)
        assert (order.stage, order.status, order.payment_status) == (
            OrderStage.CLOSED,
            OrderStatus.REFUNDED,
            "completed",
        )
        till.carry_out(next(refund.id for refund in till.refunds(paid) if refund.status is AttemptStatus.CREATED))
        order = till.read(paid)
        assert (order.refunded, order.payment_status) == (order.total, "refunded")

    def test_an_order_that_ends_owes_what_came_back_before(self, till, paid):
        till.refund(paid, 1000)
        rest = till.request_refund(paid)
        made = till.gateway.refunds[till.refunds(paid)[0].provider_transaction_id]
        till.gateway.refunds[made.id] = replace(made, status="failed", failure_reason="lost_or_stolen_card")
        till.receive(till.event({"object": "refund", "id": made.id}, "refund.failed"))
        assert [refund.status for refund in till.refunds(paid)] == [AttemptStatus.FAILED, AttemptStatus.CREATED]
        till.carry_out(rest)
        assert states(till, paid) == [REFUNDED] * 3
        owed = till.refunds(paid)[-1]
        assert (owed.status, owed.amount) == (AttemptStatus.CREATED, 1000)
        till.carry_out(owed.id)
        order = till.read(paid)
        assert (order.refunded, order.payment_status) == (order.total, "refunded")


class TestFees:
    @pytest.fixture
    def keeping(self, till, paid):
        with till.sessions.begin() as session:
            event_id = till.read(paid).event_id
            session.execute(update(Event).where(Event.id == event_id).values(returns_fees=False))
        return paid

    def fee(self, till, order_id):
        return [amount for kind, amount in till.ledger(order_id) if kind == "fee"]

    def test_where_the_fee_is_kept_none_moves(self, till, keeping, gateway, monkeypatch):
        requests = []
        refunding = gateway.refund
        monkeypatch.setattr(gateway, "refund", lambda request, key: requests.append(request) or refunding(request, key))
        till.refund(keeping, tickets=till.tickets(keeping)[:1])
        till.refund(keeping)
        assert [(request.reverse_transfer, request.refund_application_fee) for request in requests] == [
            (True, False)
        ] * 2
        assert len(self.fee(till, keeping)) == 1
        bounce(till, keeping)
        assert len(self.fee(till, keeping)) == 1

    def test_terms_that_change_change_no_refund_that_was_asked_for(self, till, keeping):
        refund_id = till.request_refund(keeping, 1000)
        with till.sessions.begin() as session:
            session.execute(update(Event).values(returns_fees=True))
        till.carry_out(refund_id)
        assert len(self.fee(till, keeping)) == 1

    def test_the_last_of_a_charge_returns_all_of_the_fee(self, till, keeping):
        till.refund(keeping, tickets=till.tickets(keeping)[:1])
        with till.sessions.begin() as session:
            session.execute(update(Event).values(returns_fees=True))
        till.refund(keeping)
        taken, returned = self.fee(till, keeping)
        assert returned == -taken


class TestBuyers:
    @pytest.fixture
    def buyer(self, till, paid):
        return Actor(till.read(paid).user_id, UserRole.USER)

    @pytest.fixture
    def allowed(self, till, paid):
        with till.sessions.begin() as session:
            event = session.get_one(Event, till.read(paid).event_id)
            event.buyer_refund_hours = 24
            return event

    def refuse(self, till, paid, buyer, **values):
        with pytest.raises(ConflictError) as refusal:
            till.request_refund(paid, actor=buyer, **values)
        return refusal.value.code, refusal.value.pointer

    def test_may_not_where_there_is_no_policy(self, till, paid, buyer):
        assert self.refuse(till, paid, buyer) == ("refund-not-allowed", None)

    def test_may_until_the_deadline(self, till, paid, buyer, allowed):
        till.now = allowed.starts_at
        till.advance(hours=-24)
        assert self.refuse(till, paid, buyer) == ("refund-window-over", None)
        till.advance(seconds=-1)
        till.refund(paid, actor=buyer, tickets=till.tickets(paid)[:1])
        till.refund(paid, actor=buyer)
        assert till.read(paid).status is OrderStatus.REFUNDED
        assert {refund.requested_by_id for refund in till.refunds(paid)} == {buyer.user_id}

    def test_may_not_give_used_ones_back_but_the_others(self, till, paid, buyer, allowed):
        used, other, _ = till.tickets(paid)
        let_in(till, used)
        assert self.refuse(till, paid, buyer) == ("refund-not-allowed", None)
        assert self.refuse(till, paid, buyer, tickets=[other, used]) == ("refund-not-allowed", "/tickets/1")
        till.refund(paid, actor=buyer, tickets=[other])
        assert states(till, paid) == [USED, REFUNDED, VALID]

    @pytest.mark.parametrize("how", ["blocked", "handed on"])
    def test_may_not_give_back_what_is_disputed_or_somebody_elses(self, till, paid, buyer, allowed, how):
        ticket = till.tickets(paid)[0]
        with till.sessions.begin() as session, bound_to(session):
            values = {"blocked_at": till.now} if how == "blocked" else {"holder_id": UserFactory().id}
            session.execute(update(Ticket).where(Ticket.id == ticket.id).values(**values))
        assert self.refuse(till, paid, buyer, tickets=[ticket]) == ("refund-not-allowed", "/tickets/0")
