from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from domain import catalog
from domain.catalog import EventDetails
from domain.errors import InvalidError
from domain.event_changes import PAUSE
from domain.models import Event, Order, Ticket
from domain.payments.refund_policy import may_refund
from domain.rules.states import MailingStatus
from domain.terms import Platform
from tests.factories import MailingFactory
from tests.integration.domain.mail_world import MailWorld

PLATFORM = Platform(currencies=("EUR",), fee_rate_bps=250, fee_fixed=50, returns_fees=True)


@pytest.fixture
def world(sessions, announced):
    return MailWorld(sessions, announced, datetime.now(UTC) + timedelta(seconds=5))


@pytest.fixture
def edit(world):
    """Edit the event as its promoter does: the whole of it, with some values changed."""

    def edit(**values):
        with world.sessions.begin() as session:
            event = session.get_one(Event, world.event.id)
            details = EventDetails(**{field.name: getattr(event, field.name) for field in fields(EventDetails)})
            catalog.update_event(session, world.promoter, event.id, replace(details, **values), PLATFORM, world.now)

    return edit


def moved(world, **parts):
    return {
        "starts_at": world.event.starts_at + timedelta(**parts),
        "ends_at": world.event.ends_at + timedelta(**parts),
    }


def test_holders_and_buyers_are_told_once_what_was_and_what_is(world, edit):
    world.hand_on(world.pair, all_of_them=True)
    edit(**moved(world, days=7), venue_name="Harbour Stage", city="Oslo")
    world.sweep()
    assert world.written() == []
    world.advance(seconds=PAUSE.total_seconds())
    for _ in range(2):
        world.sweep()
    assert world.written("event_changed") == ["friend@example.com", "pair@example.com", "single@example.com"]
    world.send()
    rendered = world.mailer.to("friend@example.com")[0].rendered
    assert rendered.subject == "Postponed: Nordic Noise"
    for fact in ("was: Columbiahalle", "now: Harbour Stage", "was: Berlin, DE", "now: Oslo, DE"):
        assert fact in rendered.text


def test_edits_before_it_was_told_are_one_change_and_a_mistake_that_was_mended_none(world, edit):
    edit(title="Nordic Nose")
    edit(title="Nordic Noise", city="Oslo")
    world.advance(seconds=PAUSE.total_seconds() / 2)
    edit(city="Bergen")
    world.advance(seconds=PAUSE.total_seconds() / 2)
    world.sweep()
    assert world.written() == []
    world.advance(seconds=PAUSE.total_seconds() / 2)
    world.sweep()
    (change,) = world.mailings()
    assert (change.changes, change.status) == ({"city": ["Berlin", "Bergen"]}, MailingStatus.SENT)
    edit(city="Oslo")
    edit(city="Bergen")
    assert [mailing.status for mailing in world.mailings()] == [MailingStatus.SENT, MailingStatus.CANCELLED]


def test_a_change_after_one_that_goes_out_is_told_by_itself(world, edit):
    edit(city="Oslo")
    world.advance(seconds=PAUSE.total_seconds())
    world.sweep(budget=1)
    edit(city="Bergen")
    first, second = world.mailings()
    assert (first.status, first.changes) == (MailingStatus.SENDING, {"city": ["Berlin", "Oslo"]})
    assert (second.status, second.changes) == (MailingStatus.WAITING, {"city": ["Oslo", "Bergen"]})


def test_what_readers_need_not_know_is_not_told(world, edit):
    edit(description="Now with a longer text.", capacity=20_000)
    assert world.mailings() == []


def test_a_moved_start_stops_the_reminder_of_the_old_one(world, edit):
    reminder = world.add(
        MailingFactory,
        event_id=world.event.id,
        kind="reminder",
        event_starts_at=world.event.starts_at,
        status=MailingStatus.SENDING,
    )
    edit(**moved(world, days=7))
    assert world.read(reminder).status is MailingStatus.CANCELLED


def test_a_granted_refund_is_the_buyers_right_until_its_deadline_and_told(world, edit):
    until = world.now + timedelta(days=3)
    with pytest.raises(InvalidError):
        edit(refund_granted_until=world.now)
    assert not may_give_back(world)
    edit(**moved(world, days=7), refund_granted_until=until)
    assert may_give_back(world)
    world.advance(seconds=PAUSE.total_seconds())
    world.sweep()
    world.send()
    assert all("give them back" in text for text in world.texts())
    world.now = until
    assert not may_give_back(world)


def may_give_back(world):
    with world.sessions() as session:
        order = session.get_one(Order, world.order.id)
        order_event = session.get_one(Event, order.event_id)
        session.refresh(order_event, ["promoter"])
        session.refresh(order, ["event"])
        tickets = session.scalars(select(Ticket).where(Ticket.order_id == order.id)).all()
        return may_refund(session, order, tickets, world.actor(world.pair), world.now)
