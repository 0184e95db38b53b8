"""What the door is told of an event: the list for gates that go offline, live figures, and conflicts."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select, text, tuple_
from sqlalchemy.orm import Session, load_only

from domain.audit import Actor
from domain.check_in_records import list_tiers, select_scans
from domain.errors import ConflictError
from domain.models import CheckInScan, DoorCount, Event, Ticket, TicketTier
from domain.models.check_ins import CONFLICT
from domain.ownership import find_event
from domain.rules.door import Doors
from domain.rules.states import ScanResult, TeamRight

Key = TypeVar("Key")
NOBODY = UUID(int=0)


def doors_of(event: Event) -> Doors:
    """Return when an event lets people in."""
    return Doors.of(event.doors_at, event.starts_at, event.ends_at, is_cancelled=event.is_cancelled)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a gate has read an event's list, which never ends.

    The tickets come in the order of the transactions that changed them last. `floor` is the oldest transaction that ran
    when the present pass began, 0 between two passes: whatever commits late is above it, and is in the next pass.
    """

    event_id: UUID
    origin: str
    floor: int
    xid: int
    ticket_id: UUID


@dataclass(frozen=True, slots=True)
class DoorList:
    """A page of the list, and where to go on."""

    event: Event
    tiers: Sequence[TicketTier]
    tickets: Sequence[Ticket]
    position: Position
    is_complete: bool


# Transactions are numbered anew by another server, and from an earlier number by one that was brought back from a
# backup: it has another system identifier, or another timeline, with which the names of its log files begin.
_HERE = text("""
    SELECT (SELECT system_identifier FROM pg_control_system()) || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8),
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint
""")


def read_list(session: Session, actor: Actor, event_id: UUID, *, after: Position | None, limit: int) -> DoorList:
    """Return the event's tickets that were changed behind a position, at most `limit`, those of before all at first.

    None that changes is left out, however late its transaction commits; one may come twice. Raises what `find_event`
    raises, for the right to scan, and `ConflictError` for a position in another list.
    """
    event = find_event(session, actor, event_id, TeamRight.SCAN)
    # Read before the tickets, so that these show at least what is finished below it.
    origin, oldest_running = session.execute(_HERE).one()
    if after is None:
        after = Position(event.id, origin, 0, 0, NOBODY)
    if (after.event_id, after.origin) != (event.id, origin) or (after.floor or after.xid) > oldest_running:
        raise ConflictError("This cursor belongs to another list. Read the list anew.", code="door-list-stale")
    floor = after.floor or oldest_running
    rows = session.scalars(
        select(Ticket)
        .where(
            Ticket.event_id == event.id,
            tuple_(Ticket.changed_xid, Ticket.id) > tuple_(after.xid, after.ticket_id),
        )
        .options(load_only(*_LISTED))
        .order_by(Ticket.changed_xid, Ticket.id)
        .limit(limit + 1)
    ).all()
    page, is_complete = rows[:limit], len(rows) <= limit
    position = (
        Position(event.id, origin, 0, floor, NOBODY)
        if is_complete
        else Position(event.id, origin, floor, page[-1].changed_xid, page[-1].id)
    )
    return DoorList(event, list_tiers(session, event.id), page, position, is_complete)


_LISTED = (
    Ticket.code,
    Ticket.code_version,
    Ticket.tier_id,
    Ticket.attendee_name,
    Ticket.status,
    Ticket.blocked_at,
    Ticket.refund_id,
    Ticket.checked_in_at,
    Ticket.changed_xid,
)


def list_conflicts(
    session: Session, actor: Actor, event_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[CheckInScan]:
    """Return offline scans that let somebody in who should not have been, newest first, at most `limit` + 1.

    Raises what `find_event` raises, for the right to scan or to sell.
    """
    event = find_event(session, actor, event_id, TeamRight.SCAN, TeamRight.SELL)
    # As text, so that the planner sees the condition of the partial index.
    query = select_scans().where(CheckInScan.event_id == event.id, text(CONFLICT))
    if before is not None:
        query = query.where(CheckInScan.id < before)
    return session.scalars(query.order_by(CheckInScan.id.desc()).limit(limit + 1)).all()


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted of one gate or one quarter of an hour: people inside by it, refused scans, and conflicts."""

    inside: int
    refused: int
    conflicts: int


@dataclass(frozen=True, slots=True)
class TierFigures:
    """How many tickets of a tier are sold, how many of their holders are inside, and how many are still to come."""

    tier: TicketTier
    tickets: int
    inside: int

    @property
    def left(self) -> int:
        """Return how many are to come; the tier's consumer may count a late sale a moment after its check-in."""
        return max(0, self.tickets - self.inside)


@dataclass(frozen=True, slots=True)
class Figures:
    """How it goes at the door, at this moment."""

    event: Event
    tiers: Sequence[TierFigures]
    gates: Mapping[str | None, Tally]
    quarters: Mapping[datetime, Tally]
    refusals: Mapping[ScanResult, int]
    total: Tally


def read_figures(session: Session, actor: Actor, event_id: UUID) -> Figures:
    """Return an event's live figures; they cost the same however many were scanned.

    Raises what `find_event` raises, for the right to scan or to sell.
    """
    event = find_event(session, actor, event_id, TeamRight.SCAN, TeamRight.SELL)
    counts = session.scalars(select(DoorCount).where(DoorCount.event_id == event.id)).all()
    inside = Counter[UUID | None]()
    refusals = Counter[ScanResult]()
    for count in counts:
        inside[count.tier_id] += count.inside
        if _is_refusal(count):
            refusals[count.result] += count.scans
    return Figures(
        event,
        [TierFigures(tier, tier.sold, inside[tier.id]) for tier in list_tiers(session, event.id)],
        _group(counts, lambda count: count.gate),
        _group(counts, lambda count: count.quarter),
        refusals,
        _tally(counts),
    )


def _group(counts: Sequence[DoorCount], key: Callable[[DoorCount], Key]) -> Mapping[Key, Tally]:
    groups: dict[Key, list[DoorCount]] = defaultdict(list)
    for count in counts:
        groups[key(count)].append(count)
    return {name: _tally(group) for name, group in sorted(groups.items(), key=lambda item: str(item[0] or ""))}


def _tally(counts: Sequence[DoorCount]) -> Tally:
    refused = sum(count.scans for count in counts if _is_refusal(count))
    conflicts = sum(count.scans for count in counts if count.is_offline and count.result is not ScanResult.ACCEPTED)
    return Tally(sum(count.inside for count in counts), refused, conflicts)


def _is_refusal(count: DoorCount) -> bool:
    return not count.is_offline and count.result is not ScanResult.ACCEPTED
