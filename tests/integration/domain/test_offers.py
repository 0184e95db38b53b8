from datetime import timedelta

import pytest
from sqlalchemy import select

from domain import allocation, waitlist
from domain.audit import Actor
from domain.models import AuditLog, EmailNotification, Order, TicketTier, Waitlist
from domain.rules.states import OrderStage, UserRole, WaitlistStatus
from tests.factories import EventFactory, TicketTierFactory, WaitlistFactory, bound_to
from tests.integration.market import CLOCKS


@pytest.fixture
def line(till):
    """Return a maker of a tier with one ticket, and two people who wait for it, at an event of these values."""

    def line(**event):
        with till.sessions.begin() as session, bound_to(session):
            tier = TicketTierFactory(quantity=1, event=EventFactory(**event))
            return tier, *(WaitlistFactory(tier=tier) for _ in range(2))

    return line


def serve(till, tier):
    with till.sessions.begin() as session:
        allocation.serve(session, tier.id, till.now, CLOCKS, batch=10)


def read(till, entry):
    with till.sessions() as session:
        return session.get_one(Waitlist, entry.id)


@pytest.mark.parametrize(
    ("event", "seconds"),
    [({}, CLOCKS.offer_seconds), ({"offer_seconds": 600}, 600), ({"offer_seconds": 7 * 86_400}, 2 * 3600)],
)
def test_an_offer_runs_by_its_events_clock_and_not_past_its_end(till, line, event, seconds):
    starts_at = till.now - timedelta(hours=1)
    tier, first, _ = line(starts_at=starts_at, ends_at=till.now + timedelta(hours=2), **event)
    serve(till, tier)
    entry = read(till, first)
    assert entry.offer_expires_at == till.now + timedelta(seconds=seconds)
    assert till.read(entry.offered_order_id).hold_expires_at == entry.offer_expires_at


def test_an_offer_that_runs_out_goes_to_the_next_and_both_are_told(till, line):
    tier, first, second = line()
    serve(till, tier)
    lapsed = read(till, first).offered_order_id
    till.advance(minutes=31)
    assert till.expire() == 1
    serve(till, tier)
    assert (read(till, first).status, read(till, second).status) == (WaitlistStatus.EXPIRED, WaitlistStatus.OFFERED)
    with till.sessions.begin() as session:
        waitlist.notify(session, second.id, till.now)
        told = session.execute(select(EmailNotification.template, EmailNotification.user_id)).all()
        counters = session.get_one(TicketTier, tier.id)
        assert (counters.reserved, counters.sold) == (1, 0)
        assert session.get_one(Order, lapsed).stage is OrderStage.CLOSED
    assert sorted(told) == [("order_cancelled", first.user_id), ("waitlist_offer", second.user_id)]


def test_what_a_person_does_in_the_line_is_in_the_audit_log(till, line):
    tier, first, second = line()
    people = [Actor(user_id=entry.user_id, role=UserRole.USER) for entry in (first, second)]
    serve(till, tier)
    with till.sessions.begin() as session:
        waitlist.decline(session, first.id, people[0], till.now)
    serve(till, tier)
    with till.sessions.begin() as session:
        waitlist.accept(session, second.id, people[1], CLOCKS, till.now)
        waitlist.join(session, people[0], tier.event_id, tier.id, 1, till.now)
        session.flush()
        acts = session.execute(select(AuditLog.action, AuditLog.actor_id).order_by(AuditLog.id)).all()
    assert acts == [
        ("waitlist.decline", first.user_id),
        ("waitlist.accept", second.user_id),
        ("waitlist.join", first.user_id),
    ]
