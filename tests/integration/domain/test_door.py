import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from domain import door
from domain.audit import Actor
from domain.door import NOBODY, Position
from domain.errors import ConflictError, ForbiddenError
from domain.models import Ticket
from domain.rules.states import ScanResult, TeamRight, UserRole
from tests.factories import bound_to
from tests.integration.domain.gates import Gate, member, open_event, scan, tickets_of

ADMIN = Actor(user_id=uuid7(), role=UserRole.ADMIN)


@pytest.fixture
def rows(sessions):
    with sessions() as session, bound_to(session):
        yield session
        session.rollback()


@pytest.fixture
def event(rows):
    event = open_event()
    rows.commit()
    return event


def read(sessions, event, after=None, limit=100):
    with sessions() as session:
        return door.read_list(session, ADMIN, event.id, after=after, limit=limit)


def ids(found):
    return {ticket.id for ticket in found.tickets}


def rename(session, ticket, name):
    session.execute(update(Ticket).where(Ticket.id == ticket.id).values(attendee_name=name))


class TestList:
    def test_the_whole_list_comes_page_by_page_then_only_what_changed(self, sessions, rows, event):
        sold = tickets_of(rows, event, 5)
        tickets_of(rows, open_event())
        rows.commit()
        pages, after = [], None
        while not pages or not pages[-1].is_complete:
            pages.append(read(sessions, event, after, limit=2))
            after = pages[-1].position
        assert [len(page.tickets) for page in pages] == [2, 2, 1]
        assert {ticket_id for page in pages for ticket_id in ids(page)} == {ticket.id for ticket in sold}
        assert ids(read(sessions, event, after)) == set()
        gate = Gate(event)
        gate.show(rows, scan(sold[0]))
        rename(rows, sold[1], "Grace")
        rows.execute(update(Ticket).where(Ticket.id == sold[2].id).values(qr_payload="drawn", qr_image="again"))
        rows.commit()
        changed = read(sessions, event, after)
        assert ids(changed) == {sold[0].id, sold[1].id}
        assert ids(read(sessions, event, changed.position)) == set()

    def test_a_change_that_commits_late_is_not_missed(self, sessions, rows, event):
        early, late = tickets_of(rows, event, 2)
        rows.commit()
        start = read(sessions, event).position
        # It takes its number first, and commits last.
        with sessions() as slow:
            rename(slow, late, "Slow")
            rename(rows, early, "Quick")
            rows.commit()
            between = read(sessions, event, start)
            assert ids(between) == {early.id}
            slow.commit()
        after = read(sessions, event, between.position)
        assert late.id in ids(after)
        assert ids(read(sessions, event, after.position)) == set()

    def test_nor_is_one_that_overtakes_a_walk_through_the_pages(self, sessions, rows, event):
        sold = tickets_of(rows, event, 4)
        rows.commit()
        with sessions() as slow:
            rename(slow, sold[0], "Slow")
            first = read(sessions, event, limit=2)
            assert not first.is_complete
            slow.commit()
        rename(rows, sold[1], "Behind")
        rows.commit()
        rest = read(sessions, event, first.position, limit=10)
        assert rest.is_complete
        seen = {ticket.id: ticket.attendee_name for page in (first, rest) for ticket in page.tickets}
        again = read(sessions, event, rest.position)
        seen |= {ticket.id: ticket.attendee_name for ticket in again.tickets}
        assert (len(seen), seen[sold[0].id], seen[sold[1].id]) == (4, "Slow", "Behind")

    def test_a_position_of_another_list_is_refused(self, sessions, rows, event):
        position = read(sessions, event).position
        other = open_event()
        rows.commit()
        strange = [
            (other, position),
            (event, Position(event.id, "another server-00000001", 0, 5, NOBODY)),
            (event, Position(event.id, position.origin, 0, 2**40, NOBODY)),
            (event, Position(event.id, position.origin, 2**40, 5, NOBODY)),
        ]
        for where, after in strange:
            with pytest.raises(ConflictError) as refused:
                read(sessions, where, after)
            assert refused.value.code == "door-list-stale"

    def test_it_is_for_who_may_scan(self, rows, event):
        with pytest.raises(ForbiddenError):
            door.read_list(rows, member(event, TeamRight.SELL), event.id, after=None, limit=10)
        assert door.read_list(rows, member(event, TeamRight.SCAN), event.id, after=None, limit=10).is_complete


class TestFigures:
    def test_nobody_has_come_yet(self, rows, event):
        tickets_of(rows, event, 3, name="Standing")
        figures = door.read_figures(rows, member(event, TeamRight.SELL), event.id)
        (tier,) = figures.tiers
        assert (tier.tier.name, tier.tickets, tier.inside, tier.left) == ("Standing", 3, 0, 3)
        assert (figures.gates, figures.quarters, figures.refusals) == ({}, {}, {})

    def test_gates_and_those_without_a_name_are_told_apart(self, rows, event):
        one, two, three = tickets_of(rows, event, 3)
        north, unnamed = Gate(event), Gate(event, None)
        north.show(rows, scan(one), scan(one))
        unnamed.show(rows, scan(two), scan(one, offline_at=north.now))
        unnamed.show(rows, scan(three))
        figures = door.read_figures(rows, ADMIN, event.id)
        assert [(gate, it.inside, it.refused, it.conflicts) for gate, it in figures.gates.items()] == [
            (None, 2, 0, 1),
            ("North", 1, 1, 0),
        ]
        assert figures.refusals == {ScanResult.ALREADY_USED: 1}

    def test_they_and_the_conflicts_are_for_who_scans_or_sells(self, rows, event):
        manager = member(event, TeamRight.MANAGE)
        with pytest.raises(ForbiddenError):
            door.read_figures(rows, manager, event.id)
        with pytest.raises(ForbiddenError):
            door.list_conflicts(rows, manager, event.id, before=None, limit=10)


def test_conflicts_are_listed_newest_first_with_both_scans(rows, event):
    used, disputed = tickets_of(rows, event, 2)
    disputed.blocked_at = disputed.created_at
    rows.flush()
    gate = Gate(event)
    (first,) = gate.upload(rows, scan(used))
    gate.upload(rows, scan(used))
    gate.upload(rows, scan(used, offline_at=gate.now), scan(disputed, offline_at=gate.now))
    found = door.list_conflicts(rows, member(event, TeamRight.SCAN), event.id, before=None, limit=10)
    assert [(it.ticket_id, it.result) for it in found] == [
        (disputed.id, ScanResult.DISPUTED),
        (used.id, ScanResult.ALREADY_USED),
    ]
    assert [it.earlier and it.earlier.id for it in found] == [None, first.scan.id]
    older = door.list_conflicts(rows, member(event, TeamRight.SELL), event.id, before=found[0].id, limit=10)
    assert [it.id for it in older] == [found[1].id]
