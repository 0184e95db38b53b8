from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.door import EARLY, OFFLINE_EARLY, QUARTER, Doors, admits, judge_scan, judge_ticket, quarter_of
from domain.rules.lifecycle import TICKET_MOVES, may_become
from domain.rules.states import ScanResult, TicketStatus

START = datetime(2027, 6, 5, 17, 0, tzinfo=UTC)
DOORS = Doors.of(None, START, START + timedelta(hours=4), is_cancelled=False)
OPEN = START - EARLY

moments = st.floats(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
statuses = st.sampled_from(TicketStatus)


def judge(status=TicketStatus.VALID, *, is_disputed=False, is_being_refunded=False):
    return judge_ticket(status, is_disputed=is_disputed, is_being_refunded=is_being_refunded)


def test_people_come_in_an_hour_before_the_doors_or_the_start():
    assert DOORS.opens_at == START - timedelta(hours=1)
    earlier = START - timedelta(hours=2)
    assert Doors.of(earlier, START, DOORS.closes_at, is_cancelled=False).opens_at == earlier - timedelta(hours=1)


@pytest.mark.parametrize(
    ("moment", "result"),
    [
        (OPEN - timedelta(seconds=1), ScanResult.NOT_YET_OPEN),
        (OPEN, ScanResult.ACCEPTED),
        (DOORS.closes_at - timedelta(seconds=1), ScanResult.ACCEPTED),
        (DOORS.closes_at, ScanResult.EVENT_OVER),
    ],
)
def test_the_hour_decides_about_a_good_ticket_unless_its_holder_is_in_already(moment, result):
    assert judge_scan(ScanResult.ACCEPTED, DOORS, moment, is_offline=False) is result
    assert judge_scan(ScanResult.ACCEPTED, DOORS, moment, is_offline=True) is ScanResult.ACCEPTED


def test_a_spent_ticket_says_why_whatever_the_hour():
    assert judge(TicketStatus.USED, is_disputed=True, is_being_refunded=True) is ScanResult.ALREADY_USED
    assert judge(TicketStatus.CANCELLED) is ScanResult.CANCELLED
    assert judge(TicketStatus.REFUNDED) is judge(is_disputed=True, is_being_refunded=True) is ScanResult.REFUNDED
    assert judge(is_disputed=True) is ScanResult.DISPUTED
    assert judge_scan(ScanResult.DISPUTED, DOORS, OPEN - EARLY, is_offline=False) is ScanResult.DISPUTED


def test_nobody_comes_in_to_a_cancelled_event():
    cancelled = Doors.of(None, START, DOORS.closes_at, is_cancelled=True)
    assert judge_scan(ScanResult.ACCEPTED, cancelled, OPEN, is_offline=True) is ScanResult.EVENT_CANCELLED


@given(statuses, st.booleans(), st.booleans(), st.booleans(), moments)
def test_only_a_valid_ticket_is_ever_used(status, is_disputed, is_being_refunded, is_offline, now):
    worth = judge(status, is_disputed=is_disputed, is_being_refunded=is_being_refunded)
    result = judge_scan(worth, DOORS, now, is_offline=is_offline)
    if admits(result, status, is_offline=is_offline):
        assert may_become(status, TicketStatus.USED)
    else:
        assert result is not ScanResult.ACCEPTED
    # Offline, somebody sits there, whatever the ticket is worth.
    assert not is_offline or admits(result, status, is_offline=True) == (status is TicketStatus.VALID)


def test_the_only_way_back_is_from_used_to_valid():
    assert set(TICKET_MOVES) == set(TicketStatus)
    assert {source for source, targets in TICKET_MOVES.items() if TicketStatus.VALID in targets} == {TicketStatus.USED}
    assert not TICKET_MOVES[TicketStatus.CANCELLED] | TICKET_MOVES[TicketStatus.REFUNDED]


@given(moments, moments)
def test_a_gates_clock_is_believed_within_reason(scanned_at, now):
    believed = DOORS.believe(scanned_at, now)
    assert believed <= now
    assert believed >= min(now, DOORS.opens_at - OFFLINE_EARLY)
    if DOORS.opens_at - OFFLINE_EARLY <= scanned_at <= now:
        assert believed == scanned_at


@given(moments)
def test_a_quarter_begins_at_a_quarter(moment):
    quarter = quarter_of(moment)
    assert quarter <= moment < quarter + QUARTER
    assert quarter.timestamp() % QUARTER.total_seconds() == 0
