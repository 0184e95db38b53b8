from datetime import timedelta

import pytest
from sqlalchemy import select, update
from uuid_utils.compat import uuid7

from domain.messages import RefundPayment
from domain.models import Event, PaymentTransaction, Ticket, User
from domain.rules.states import OrderStage, TicketStatus, UserRole
from tests.factories import OrderFactory, UserFactory, bound_to

ORDERS = "/api/v1/orders"
WHY = {"reason": "Ill"}


@pytest.fixture
def buyer(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


@pytest.fixture
def mine(log_in, buyer):
    return log_in(buyer)


@pytest.fixture
def order(sessions, buyer):
    with sessions.begin() as session, bound_to(session):
        return OrderFactory(stage=OrderStage.COMPLETE, quantity=2, user=session.get_one(User, buyer.id))


@pytest.fixture
def seller(log_in, order):
    return log_in(order.event.promoter.user)


@pytest.fixture
def tickets(sessions, order):
    with sessions() as session:
        return session.scalars(select(Ticket).where(Ticket.order_id == order.id).order_by(Ticket.position)).all()


@pytest.fixture
def allow(sessions, order, clock):
    def allow(*, hours, starts_in):
        with sessions.begin() as session:
            starts_at = clock.now() + starts_in
            times = {"starts_at": starts_at, "ends_at": starts_at + timedelta(hours=3)}
            session.execute(update(Event).where(Event.id == order.event_id).values(buyer_refund_hours=hours, **times))

    return allow


def refund(client, order, **body):
    return client.post(f"{ORDERS}/{order.id}/refund", json={**WHY, **body})


def told(answer):
    pointers = [line["pointer"] for line in answer.json.get("errors", ())]
    return answer.status_code, answer.json["code"], pointers


class TestByTicket:
    def test_the_ticket_shows_that_its_refund_is_under_way(self, seller, order, tickets, announced, sessions):
        answer = refund(seller, order, tickets=[str(tickets[0].id)])
        assert answer.status_code == 202
        assert [(ticket["status"], ticket["refund_pending"]) for ticket in answer.json["tickets"]] == [
            ("valid", True),
            ("valid", False),
        ]
        assert answer.json["amounts"]["refunded"] == 0
        assert answer.json["timeline"][-1]["data"]["tickets"] == 1
        (message,) = (message for message in announced if isinstance(message, RefundPayment))
        with sessions() as session:
            assert session.get_one(PaymentTransaction, message.transaction_id).amount in {
                order.total // 2,
                order.total - order.total // 2,
            }

    def test_what_is_wrong_is_pointed_at(self, seller, order, tickets):
        ids = [str(ticket.id) for ticket in tickets]
        refuse = ("validation-failed", ["/tickets"])
        assert told(refund(seller, order, tickets=ids, amount=100)) == (422, *refuse)
        assert told(refund(seller, order, tickets=[ids[0], ids[0]])) == (422, *refuse)
        assert told(refund(seller, order, tickets=[])) == (422, *refuse)
        unknown = refund(seller, order, tickets=[ids[0], str(uuid7())])
        assert told(unknown) == (422, "validation-failed", ["/tickets/1"])
        refund(seller, order, tickets=ids[:1])
        assert told(refund(seller, order, tickets=ids[:1])) == (409, "ticket-not-refundable", ["/tickets/0"])
        assert refund(seller, order, tickets=None, amount=100).status_code == 202


class TestBuyers:
    def test_give_back_where_and_while_the_policy_allows(self, mine, order, tickets, allow):
        assert told(refund(mine, order)) == (409, "refund-not-allowed", [])
        allow(hours=24, starts_in=timedelta(hours=23))
        assert told(refund(mine, order)) == (409, "refund-window-over", [])
        allow(hours=24, starts_in=timedelta(hours=25))
        assert refund(mine, order, tickets=[str(tickets[0].id)]).status_code == 202
        assert refund(mine, order).status_code == 202
        assert told(refund(mine, order)) == (409, "nothing-to-refund", [])

    def test_name_no_amount(self, mine, order, allow):
        allow(hours=24, starts_in=timedelta(hours=25))
        assert told(refund(mine, order, amount=100)) == (403, "forbidden", ["/amount"])

    def test_strangers_are_told_that_there_is_none(self, log_in, sessions, order, allow, client):
        allow(hours=24, starts_in=timedelta(hours=25))
        with sessions.begin() as session:
            stranger = log_in(UserFactory(session=session))
        assert told(refund(stranger, order)) == (404, "not-found", [])
        assert told(refund(client, order)) == (401, "unauthenticated", [])

    def test_a_closed_account_moves_no_money(self, mine, buyer, order, allow, sessions, clock):
        allow(hours=24, starts_in=timedelta(hours=25))
        with sessions.begin() as session:
            session.get_one(User, buyer.id).deleted_at = clock.now()
        assert told(refund(mine, order)) == (401, "token-invalid", [])

    def test_a_promoter_who_buys_elsewhere_is_a_buyer(self, mine, buyer, order, sessions, allow):
        with sessions.begin() as session:
            session.get_one(User, buyer.id).role = UserRole.PROMOTER
        assert told(refund(mine, order)) == (409, "refund-not-allowed", [])


class TestLink:
    def show(self, client, order):
        return client.get(f"{ORDERS}/{order.id}").json["links"]["refund"]

    def test_is_there_for_who_may(self, mine, seller, order, allow):
        address = f"{ORDERS}/{order.id}/refund"
        assert (self.show(mine, order), self.show(seller, order)) == (None, address)
        allow(hours=24, starts_in=timedelta(hours=25))
        assert self.show(mine, order) == address
        assert mine.get(ORDERS).json["items"][0]["links"]["refund"] == address
        allow(hours=26, starts_in=timedelta(hours=25))
        assert self.show(mine, order) is None

    def test_is_gone_once_everything_is_on_its_way_back(self, seller, order):
        refund(seller, order)
        assert self.show(seller, order) is None

    def test_is_not_there_for_buyers_of_used_tickets(self, mine, order, allow, sessions, clock):
        allow(hours=24, starts_in=timedelta(hours=25))
        with sessions.begin() as session:
            used = {"status": TicketStatus.USED, "checked_in_at": clock.now()}
            session.execute(update(Ticket).where(Ticket.order_id == order.id).values(**used))
        assert self.show(mine, order) is None

    def test_is_not_there_before_the_payment(self, sessions, buyer, mine):
        with sessions.begin() as session, bound_to(session):
            unpaid = OrderFactory(stage=OrderStage.QUEUED, user=session.get_one(User, buyer.id))
        assert self.show(mine, unpaid) is None
