import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.attendees import AttendeeFilter, begin_export, list_attendees
from domain.audit import Actor
from domain.errors import ForbiddenError
from domain.models import AuditLog, Ticket
from domain.rules.states import OrderStage, TeamRight, TicketStatus, UserRole
from tests.factories import OrderFactory, TeamMemberFactory, TicketTierFactory, UserFactory, bound_to
from tests.factories.base import from_now


@pytest.fixture
def tickets(session):
    """Make three tickets of an event, oldest first, and one of another event."""
    with bound_to(session):
        front = TicketTierFactory(name="Front")
        back = TicketTierFactory(name="Back", event=front.event)
        orders = [
            OrderFactory(tier=tier, stage=OrderStage.COMPLETE) for tier in (front, front, back, TicketTierFactory())
        ]
        found = {ticket.order_id: ticket for ticket in session.scalars(select(Ticket))}
        inside, refunded, blocked, _ = (found[order.id] for order in orders)
        inside.status, inside.checked_in_at = TicketStatus.USED, from_now()
        inside.attendee_name, inside.attendee_email = "Grace Hopper", "grace@navy.example"
        refunded.status = TicketStatus.REFUNDED
        blocked.blocked_at = from_now()
        session.flush()
        yield {"inside": inside, "refunded": refunded, "blocked": blocked}


@pytest.fixture
def event(session, tickets):
    return session.get_one(OrderFactory._meta.model, tickets["inside"].order_id).event


def actor_of(user):
    return Actor(user_id=user.id, role=user.role)


def ask(session, event, actor=None, **wanted):
    actor = actor or Actor(user_id=uuid7(), role=UserRole.ADMIN)
    return list_attendees(session, actor, event.id, AttendeeFilter(**wanted), before=None, limit=100)


def names(session, event, tickets, **wanted):
    known = {ticket.id: name for name, ticket in tickets.items()}
    return [known[row.id] for row in ask(session, event, **wanted)]


def test_all_tickets_of_the_event_come_newest_first(session, event, tickets):
    assert names(session, event, tickets) == ["blocked", "refunded", "inside"]


def test_filters_and_a_search_narrow_it(session, event, tickets):
    order = session.get_one(OrderFactory._meta.model, tickets["blocked"].order_id)
    for wanted, expected in (
        ({"status": TicketStatus.REFUNDED}, ["refunded"]),
        ({"is_checked_in": True}, ["inside"]),
        ({"is_checked_in": False}, ["blocked", "refunded"]),
        ({"tier_id": tickets["blocked"].tier_id}, ["blocked"]),
        ({"words": "HOPPER"}, ["inside"]),
        ({"words": "@navy"}, ["inside"]),
        ({"words": "grace hopper", "is_checked_in": False}, []),
        ({"words": order.number}, ["blocked"]),
    ):
        assert names(session, event, tickets, **wanted) == expected, wanted


def test_a_row_says_who_comes_with_what_and_no_code(session, event, tickets):
    (row,) = ask(session, event, words="hopper")
    assert (row.attendee_name, row.attendee_email) == ("Grace Hopper", "grace@navy.example")
    assert (row.tier_name, row.status, row.is_blocked) == ("Front", TicketStatus.USED, False)
    assert row.checked_in_at == tickets["inside"].checked_in_at
    assert tickets["inside"].code not in [str(value) for value in row]
    assert [row.is_blocked for row in ask(session, event)] == [True, False, False]


def test_pages_meet_without_a_gap_or_a_repetition(session, event, tickets):
    actor, wanted = actor_of(event.promoter.user), AttendeeFilter()
    walked, before = [], None
    while page := list_attendees(session, actor, event.id, wanted, before=before, limit=1)[:1]:
        before = page[0].id
        walked.append(before)
    assert walked == [row.id for row in ask(session, event)]


def test_sellers_and_the_door_see_it_and_only_sellers_take_it_home(session, event, tickets):
    def member(right):
        return actor_of(TeamMemberFactory(promoter_id=event.promoter_id, rights=[right]).user)

    def export(actor):
        return begin_export(session, actor, event.id, AttendeeFilter(words="hopper"), "xlsx")

    for actor in (member(TeamRight.SELL), member(TeamRight.SCAN), actor_of(event.promoter.user)):
        assert len(ask(session, event, actor)) == 3
    for actor in (member(TeamRight.MANAGE), actor_of(UserFactory())):
        with pytest.raises(ForbiddenError):
            ask(session, event, actor)
    with pytest.raises(ForbiddenError):
        export(member(TeamRight.SCAN))
    seller = member(TeamRight.SELL)
    assert [row.attendee_name for row in export(seller).read(session, None, 10)] == ["Grace Hopper"]
    entry = session.scalars(select(AuditLog)).one()
    assert (entry.action, entry.actor_id, entry.entity_id) == ("attendees.export", seller.user_id, event.id)
    assert entry.new_data == {"form": "xlsx", "words": "given"}
