import pytest

from domain.messages import MakeStatement
from domain.payments import statements
from domain.rules.states import UserRole
from tests.factories import EventFactory, UserFactory
from tests.fakes.payment_gateway import FakePaymentGateway


@pytest.fixture
def event(rows, promoter):
    event = EventFactory(promoter=promoter, is_private=False)
    rows.commit()
    return event


@pytest.fixture
def address(event):
    return f"/api/v1/events/{event.id}/statement"


@pytest.fixture
def make(sessions, announced):
    """Let a worker make what was asked for."""

    def make():
        for message in [message for message in announced if isinstance(message, MakeStatement)]:
            statements.make(sessions, FakePaymentGateway(), message.statement_id)
        announced.clear()

    return make


def test_the_first_question_has_it_made(seller, address, event, announced, make):
    answer = seller.get(address)
    assert (answer.status_code, answer.json) == (202, {"event_id": str(event.id)})
    assert int(answer.headers["Retry-After"]) > 0
    assert [type(message) for message in announced] == [MakeStatement]
    make()
    answer = seller.get(address)
    assert (answer.status_code, answer.json["difference"], answer.json["is_renewed"]) == (200, 0, False)
    assert "Retry-After" not in answer.headers
    assert answer.json["event_id"] == str(event.id)
    assert answer.json["currency"] == event.currency
    assert answer.json["as_of"] <= answer.json["made_at"]
    assert answer.json["provider"] == {"charged": 0, "fees": 0, "refunded": 0, "disputed": 0, "kept": 0}
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_an_old_one_is_told_while_a_newer_one_is_made(seller, address, announced, make, clock):
    seller.get(address)
    make()
    old = seller.get(address).json
    clock.advance(seconds=61)
    for _ in range(2):
        answer = seller.get(address)
        assert (answer.status_code, answer.json) == (200, {**old, "is_renewed": True})
        assert int(answer.headers["Retry-After"]) > 0
    assert len(announced) == 1
    make()
    assert seller.get(address).json["made_at"] > old["made_at"]


def test_it_is_for_its_promoter_and_for_admins(rows, log_in, client, address, event):
    admin, buyer, other = (UserFactory(role=role) for role in (UserRole.ADMIN, UserRole.USER, UserRole.PROMOTER))
    rows.commit()
    assert log_in(admin).get(address).status_code == 202
    assert client.get(address).status_code == 401
    assert log_in(buyer).get(address).status_code == 403
    assert log_in(other).get(address).json["code"] == "forbidden"
    event.is_private = True
    rows.commit()
    assert log_in(other).get(address).status_code == 404
    assert log_in(admin).get(f"/api/v1/events/{admin.id}/statement").status_code == 404
