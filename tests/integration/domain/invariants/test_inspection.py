import logging
from datetime import timedelta
from itertools import chain, count, repeat

import pytest

from domain.invariants import heals, inspection
from domain.invariants.inspection import INVARIANTS, PAUSE, SECOND_LOOK, find_due, inspect_event
from domain.models import Inspection
from domain.rules.states import EventStatus, OrderStage
from tests.factories import EventFactory
from tests.integration.domain.invariants.conftest import PATIENCE, SERVED_BY_HAND


@pytest.fixture(autouse=True)
def _served_by_hand(monkeypatch):
    """Look at everything but the owner, whom this house does without."""
    everything = inspection.inspect
    monkeypatch.setattr(inspection, "inspect", lambda *asked, **how: everything(*asked, SERVED_BY_HAND, **how))


@pytest.fixture
def look(house, caplog):
    """Return what looks at the event as the sweep does, and returns the names of what is broken for good."""

    def look(after=timedelta(0)):
        caplog.clear()
        broken = inspect_event(house.sessions, house.event_id, house.now + after, PATIENCE)
        return [invariant.name for invariant in broken]

    return look


def row(house):
    with house.sessions() as session:
        return session.get_one(Inspection, house.event_id)


def alarms(caplog, level=logging.CRITICAL):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def miscount(house):
    house.corrupt("UPDATE ticket_tiers SET reserved = 7 WHERE id = :id", id=house.tier_id)


class TestInspectEvent:
    def test_keeps_that_nothing_was_found(self, house, look, caplog):
        house.confirmed()
        assert look() == []
        found = row(house)
        assert (found.breaches, found.suspects, found.made_at) == ({}, {}, house.now)
        assert found.due_at >= house.now + PAUSE
        assert alarms(caplog) == []

    def test_what_was_healed_by_the_next_look_is_no_alarm(self, house, look, caplog):
        miscount(house)
        assert look() == []
        assert alarms(caplog) == []
        (told,) = alarms(caplog, logging.ERROR)
        assert told.startswith("invariant.healing invariant=counters_equal_rows ")
        assert row(house).suspects == {"counters_equal_rows": [str(house.tier_id)]}
        assert house.tier().recount_due
        house.serve()
        assert look(SECOND_LOOK) == []
        assert (row(house).breaches, row(house).suspects, alarms(caplog)) == ({}, {}, [])

    def test_what_could_not_be_healed_until_the_next_look_is_an_alarm_and_told_once(self, house, look, caplog):
        miscount(house)
        look()
        assert look(SECOND_LOOK) == ["counters_equal_rows"]
        (alarm,) = alarms(caplog)
        assert alarm.startswith(
            f"invariant.broken invariant=counters_equal_rows event={house.event_id} id={house.tier_id} name=Tier"
        )
        assert alarm.endswith("fault=reserved 7 and sold 0, by its rows 0 and 0")
        assert row(house).breaches == {"counters_equal_rows": [str(house.tier_id)]}
        assert look(SECOND_LOOK * 2) == ["counters_equal_rows"]
        assert alarms(caplog) == []
        house.serve()
        assert look(SECOND_LOOK * 3) == []
        assert row(house).breaches == {}

    def test_what_nobody_can_derive_is_an_alarm_at_once(self, house, look, caplog):
        order_id = house.order(OrderStage.QUARANTINED)
        assert look() == ["ends_in_time"]
        assert len(alarms(caplog)) == 1
        assert row(house).breaches == {"ends_in_time": [str(order_id)]}

    def test_what_may_pass_is_looked_at_again_before_it_is_an_alarm(self, house, look, monkeypatch, caplog):
        monkeypatch.undo()
        assert look() == []
        assert row(house).suspects == {"one_owner": [str(house.tier_id)]}
        assert row(house).due_at - house.now < PAUSE
        assert look(SECOND_LOOK) == ["one_owner"]
        assert len(alarms(caplog)) == 1

    def test_more_than_can_be_read_at_once_is_healed_look_after_look(self, house, look, monkeypatch):
        monkeypatch.setattr("domain.invariants.breaches.MOST", 2)
        for _ in range(3):
            house.confirmed()
        house.corrupt("DELETE FROM email_notifications")
        assert [look(SECOND_LOOK * number) for number in range(3)] == [[], [], []]
        assert row(house).suspects == {}

    def test_one_that_cannot_be_healed_holds_nobody_up(self, house, look, monkeypatch):
        poison, other = house.confirmed(), house.confirmed()
        house.corrupt("DELETE FROM email_notifications")
        writing = heals.write_to_buyer

        def write_to_buyer(session, order, template):
            if order.id == poison:
                raise RuntimeError("poison")
            return writing(session, order, template)

        monkeypatch.setattr(heals, "write_to_buyer", write_to_buyer)
        look()
        assert house.broken() == {"tickets_are_mailed": [poison]}
        assert other not in house.broken()["tickets_are_mailed"]


class TestFindDue:
    def due(self, house, after=timedelta(0)):
        with house.sessions() as session:
            return find_due(session, house.now + after)

    def test_an_event_is_due_until_it_was_looked_at_and_again_after_a_pause(self, house, look):
        assert self.due(house) == [house.event_id]
        look()
        assert self.due(house) == []
        assert self.due(house, timedelta(hours=1)) == [house.event_id]

    def test_one_that_is_over_is_looked_at_seldom(self, house, look):
        house.corrupt("UPDATE events SET status = 'completed' WHERE id = :id", id=house.event_id)
        look()
        assert self.due(house, timedelta(hours=23)) == []
        assert self.due(house, timedelta(hours=25)) == [house.event_id]

    def test_what_is_broken_is_looked_at_soon_though_it_is_over(self, house, look):
        house.corrupt("UPDATE events SET status = 'completed' WHERE id = :id", id=house.event_id)
        house.order(OrderStage.QUARANTINED)
        look()
        assert self.due(house, timedelta(hours=1)) == [house.event_id]

    def test_a_long_look_is_made_seldom(self, house, look, monkeypatch):
        moments = chain([0.0], repeat(60.0))
        monkeypatch.setattr(inspection.time, "monotonic", lambda: next(moments))
        look()
        assert row(house).due_at == house.now + timedelta(minutes=20)

    def test_the_database_is_left_alone_between_two_questions_but_not_for_long(self, house, look, monkeypatch):
        moments, rests = count(), []
        monkeypatch.setattr(inspection.time, "monotonic", lambda: next(moments) * 0.3)
        monkeypatch.setattr(inspection.time, "sleep", rests.append)
        look()
        assert rests == pytest.approx([0.6, 0.6, 0.6, 0.2] + [0] * (len(SERVED_BY_HAND) - 4))

    def test_new_events_come_first_and_drafts_never(self, house, look):
        look()
        with house.sessions.begin() as session:
            new = EventFactory(session=session)
            EventFactory(session=session, status=EventStatus.DRAFT)
        assert self.due(house, timedelta(hours=1)) == [new.id, house.event_id]


def test_every_invariant_has_a_name_of_its_own_and_a_promise():
    names = [invariant.name for invariant in INVARIANTS]
    assert len(set(names)) == len(names)
    assert all(invariant.promise.endswith(".") for invariant in INVARIANTS)
