from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.models import PaymentTransaction, Ticket
from domain.rules.states import AttemptKind, AttemptStatus, OrderStage, UserRole
from tests.factories import EventFactory, OrderFactory, PaymentTransactionFactory, TicketTierFactory, UserFactory

DUE = "2026-03-20T23:59:59+00:00"


@pytest.fixture
def event(rows, promoter):
    event = EventFactory(promoter=promoter)
    rows.commit()
    return event


@pytest.fixture
def order(rows, event):
    order = OrderFactory(tier=TicketTierFactory(event=event), stage=OrderStage.COMPLETE, quantity=2)
    rows.commit()
    return order


@pytest.fixture
def dispute(rows, order):
    return dispute_of(rows, order)


@pytest.fixture
def somebody(rows, log_in):
    def somebody(role):
        user = UserFactory(role=role)
        rows.commit()
        return log_in(user)

    return somebody


def dispute_of(rows, order, number=1, status=AttemptStatus.PROCESSING, word="needs_response"):
    charge = rows.scalars(select(PaymentTransaction).where(PaymentTransaction.order_id == order.id)).first()
    dispute = PaymentTransactionFactory(
        order=order,
        kind=AttemptKind.DISPUTE,
        attempt=number,
        parent_id=charge.id,
        status=status,
        amount=1000,
        reason="fraudulent",
        provider_transaction_id=f"du_{number}",
        raw_reference={"dispute": f"du_{number}", "status": word, "evidence_due_at": DUE},
    )
    rows.commit()
    return dispute


def where(event):
    return f"/api/v1/events/{event.id}/disputes"


def test_shows_the_promoter_what_the_bank_asks_and_until_when(seller, rows, event, order, dispute):
    ticket = rows.scalars(select(Ticket).where(Ticket.order_id == order.id)).first()
    ticket.blocked_at = datetime.now(UTC)
    rows.commit()
    answer = seller.get(where(event))
    assert answer.status_code == 200
    shown = answer.json
    assert datetime.fromisoformat(shown["items"][0].pop("opened_at")) == dispute.created_at
    assert shown == {
        "items": [
            {
                "id": str(dispute.id),
                "order_id": str(order.id),
                "order_number": order.number,
                "amount": 1000,
                "currency": "EUR",
                "reason": "fraudulent",
                "status": "needs_response",
                "evidence_due_at": "2026-03-20T23:59:59Z",
                "tickets_blocked": 1,
                "closed_at": None,
            }
        ],
        "next_cursor": None,
    }


def test_one_that_is_over_says_when_it_ended(seller, rows, event, order):
    dispute = dispute_of(rows, order, status=AttemptStatus.SUCCEEDED, word="lost")
    (item,) = seller.get(where(event)).json["items"]
    assert item["status"] == "lost"
    assert datetime.fromisoformat(item["closed_at"]) == dispute.updated_at


def test_goes_page_by_page_newest_first(seller, rows, event, order, dispute):
    newer = dispute_of(rows, order, number=2)
    first = seller.get(where(event), query_string={"limit": 1}).json
    assert [item["id"] for item in first["items"]] == [str(newer.id)]
    rest = seller.get(where(event), query_string={"limit": 1, "cursor": first["next_cursor"]}).json
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == ([str(dispute.id)], None)


def test_an_admin_sees_those_of_any_event(somebody, event, dispute):
    assert len(somebody(UserRole.ADMIN).get(where(event)).json["items"]) == 1


def test_other_promoters_do_not(somebody, event, dispute):
    answer = somebody(UserRole.PROMOTER).get(where(event))
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


def test_the_buyer_does_not_either(log_in, event, order, dispute):
    assert log_in(order.user).get(where(event)).status_code == 403


def test_strangers_are_asked_to_log_in(client, event):
    assert client.get(where(event)).status_code == 401


def test_what_nobody_may_see_and_what_is_not_there_look_alike(somebody, rows, event):
    event.is_private = True
    rows.commit()
    other = somebody(UserRole.PROMOTER)
    codes = [other.get(address).json["code"] for address in (where(event), f"/api/v1/events/{uuid7()}/disputes")]
    assert codes == ["not-found", "not-found"]


def test_a_cursor_of_nobodys_is_refused(seller, event):
    answer = seller.get(where(event), query_string={"cursor": "nonsense"})
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/cursor")
