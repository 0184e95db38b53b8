"""What a scan at the door is worth: plain values in, a result out. Gates read the same rule from the door list."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domain.rules.states import ScanResult, TicketStatus

EARLY = timedelta(hours=1)
"""So long before the doors, or before the start where no doors are stated, the first people are let in."""
OFFLINE_EARLY = timedelta(days=1)
"""No gate worked offline longer before that: an earlier time is a clock that is wrong."""
QUARTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Doors:
    """When an event lets people in."""

    opens_at: datetime
    closes_at: datetime
    is_cancelled: bool

    @classmethod
    def of(cls, doors_at: datetime | None, starts_at: datetime, ends_at: datetime, *, is_cancelled: bool) -> "Doors":
        """Return the doors of an event with these times."""
        return cls((doors_at or starts_at) - EARLY, ends_at, is_cancelled)

    def refuse_at(self, moment: datetime) -> ScanResult | None:
        """Return why nobody comes in at this moment, or None if the doors are open."""
        if moment < self.opens_at:
            return ScanResult.NOT_YET_OPEN
        return ScanResult.EVENT_OVER if moment >= self.closes_at else None

    def believe(self, scanned_at: datetime, now: datetime) -> datetime:
        """Return the time of an offline scan by a clock that may be wrong: neither ahead of ours nor absurdly old."""
        return min(now, max(scanned_at, self.opens_at - OFFLINE_EARLY))


def judge_ticket(status: TicketStatus, *, is_disputed: bool, is_being_refunded: bool) -> ScanResult:
    """Return what a ticket is worth while the doors are open."""
    if status is not TicketStatus.VALID:
        return _SPENT[status]
    if is_being_refunded:
        return ScanResult.REFUNDED
    return ScanResult.DISPUTED if is_disputed else ScanResult.ACCEPTED


_SPENT = {
    TicketStatus.USED: ScanResult.ALREADY_USED,
    TicketStatus.CANCELLED: ScanResult.CANCELLED,
    TicketStatus.REFUNDED: ScanResult.REFUNDED,
}


def judge_scan(ticket: ScanResult, doors: Doors, now: datetime, *, is_offline: bool) -> ScanResult:
    """Return the result of a scan of a ticket that is worth this much.

    An offline scan tells that somebody was let in, so the hour refuses it no more.
    """
    if doors.is_cancelled:
        return ScanResult.EVENT_CANCELLED
    if ticket is not ScanResult.ACCEPTED or is_offline:
        return ticket
    return doors.refuse_at(now) or ScanResult.ACCEPTED


def admits(result: ScanResult, status: TicketStatus, *, is_offline: bool) -> bool:
    """Tell whether the ticket is used from this scan on: somebody went in with it, and nobody had before.

    Offline this is so whatever the result: a ticket that is disputed or being refunded has its seat taken all the same.
    """
    return result is ScanResult.ACCEPTED or (is_offline and status is TicketStatus.VALID)


def quarter_of(moment: datetime) -> datetime:
    """Return the beginning of the quarter of an hour, which is the same in every time zone."""
    seconds = QUARTER.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)
