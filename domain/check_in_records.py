"""The rows behind check-ins: locked in the order in which everybody locks, and written some hundreds at a time."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, defer, joinedload

from domain.models import CheckInScan, DoorCount, Order, Ticket, TicketTier
from domain.rules.door import quarter_of
from domain.rules.states import ScanResult, TicketStatus

_INSIDE = (CheckInScan.is_admitted, CheckInScan.undone_at.is_(None))


@dataclass(slots=True)
class DoorTicket:
    """What the door knows of a locked ticket; `status` moves with the scans that are judged."""

    id: UUID
    tier_id: UUID
    code_version: int
    status: TicketStatus
    is_disputed: bool
    is_being_refunded: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """One scan and its result, to be written."""

    id: UUID
    nonce: str
    fingerprint: bytes
    ticket: DoorTicket | None
    result: ScanResult
    is_offline: bool
    is_admitted: bool
    earlier_scan_id: UUID | None
    scanned_at: datetime


def take_turns(session: Session, scanner_id: UUID) -> None:
    """Let one person's uploads follow each other, so that a repetition finds what it repeats."""
    digest = hashlib.sha256(b"check-ins" + scanner_id.bytes).digest()
    session.execute(select(func.pg_advisory_xact_lock(int.from_bytes(digest[:8], "big", signed=True))))


def find_nonces(session: Session, scanner_id: UUID, nonces: Collection[str]) -> set[str]:
    """Return which of these nonces a person has used."""
    used = select(CheckInScan.nonce).where(CheckInScan.scanned_by_id == scanner_id, CheckInScan.nonce.in_(nonces))
    return set(session.scalars(used))


def find_scans(session: Session, scanner_id: UUID, nonces: Collection[str]) -> Mapping[str, CheckInScan]:
    """Return a person's scans by nonce, as `select_scans` has them."""
    mine = select_scans().where(CheckInScan.scanned_by_id == scanner_id, CheckInScan.nonce.in_(nonces))
    return {scan.nonce: scan for scan in session.scalars(mine)}


def select_scans() -> Select[CheckInScan]:
    """Select scans with their tickets, tiers, and the scans before them."""
    ticket = joinedload(CheckInScan.ticket)
    return select(CheckInScan).options(
        joinedload(CheckInScan.earlier), ticket.defer(Ticket.qr_image), ticket.joinedload(Ticket.tier)
    )


def lock_tickets(
    session: Session, event_id: UUID, codes: Collection[str]
) -> tuple[Mapping[str, DoorTicket], Collection[str]]:
    """Lock the event's tickets with these codes, and return them by code; beside them the codes of other events'.

    Their orders come first, shared: a refund or a dispute, which holds its order, is before the scan or after it.
    """
    query = select(Ticket.code, Ticket.event_id, Ticket.order_id).where(Ticket.code.in_(codes))
    found = session.execute(query).all()
    own = {row.code: row.order_id for row in found if row.event_id == event_id}
    _share_orders(session, set(own.values()))
    locked = session.execute(
        select(
            Ticket.code,
            Ticket.id,
            Ticket.tier_id,
            Ticket.code_version,
            Ticket.status,
            Ticket.blocked_at.is_not(None).label("is_disputed"),
            Ticket.refund_id.is_not(None).label("is_being_refunded"),
        )
        # A code that has rotated since is no longer found.
        .where(Ticket.code.in_(own))
        .order_by(Ticket.id)
        .with_for_update(key_share=True)
    )
    tickets = {
        row.code: DoorTicket(row.id, row.tier_id, row.code_version, row.status, row.is_disputed, row.is_being_refunded)
        for row in locked
    }
    return tickets, {row.code for row in found if row.event_id != event_id}


def lock_scan(session: Session, scan_id: UUID) -> tuple[CheckInScan, Ticket | None]:
    """Lock a scan and its ticket, the ticket first, and return them as they are now."""
    ticket_id, order_id = session.execute(
        select(CheckInScan.ticket_id, Ticket.order_id)
        .outerjoin(Ticket, Ticket.id == CheckInScan.ticket_id)
        .where(CheckInScan.id == scan_id)
    ).one()
    ticket = None
    if ticket_id is not None:
        _share_orders(session, {order_id})
        query = select(Ticket).where(Ticket.id == ticket_id).options(defer(Ticket.qr_image))
        ticket = session.scalar(query.with_for_update(key_share=True).execution_options(populate_existing=True))
    scan = select_scans().where(CheckInScan.id == scan_id).with_for_update(key_share=True, of=CheckInScan)
    return session.scalars(scan.execution_options(populate_existing=True)).one(), ticket


def _share_orders(session: Session, order_ids: Collection[UUID]) -> None:
    query = select(Order.id).where(Order.id.in_(order_ids)).order_by(Order.id)
    session.execute(query.with_for_update(read=True))


def find_admissions(session: Session, ticket_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return by which scan each of these tickets is used."""
    query = select(CheckInScan.ticket_id, CheckInScan.id).where(CheckInScan.ticket_id.in_(ticket_ids), *_INSIDE)
    return {ticket_id: scan_id for ticket_id, scan_id in session.execute(query) if ticket_id is not None}


_USE = text("""
    UPDATE tickets SET status = 'used', checked_in_at = seen.at, checked_in_by_id = :scanner_id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS seen (id, at)
    WHERE tickets.id = seen.id
""")


def write(
    session: Session, event_id: UUID, gate: str | None, scanner_id: UUID, judged: Sequence[Judgement], now: datetime
) -> None:
    """Write what was decided about locked tickets: the scans, the tickets that are used now, and the counters."""
    # With RETURNING, SQLAlchemy sends all rows in one statement.
    session.scalars(
        insert(CheckInScan).returning(CheckInScan.id),
        [
            {
                "id": it.id,
                "event_id": event_id,
                "ticket_id": it.ticket.id if it.ticket else None,
                "scanned_by_id": scanner_id,
                "nonce": it.nonce,
                "fingerprint": it.fingerprint,
                "result": it.result,
                "gate": gate,
                "is_offline": it.is_offline,
                "is_admitted": it.is_admitted,
                "earlier_scan_id": it.earlier_scan_id,
                "scanned_at": it.scanned_at,
                "recorded_at": now,
            }
            for it in judged
        ],
    ).all()
    used = [(it.ticket.id, it.scanned_at) for it in judged if it.ticket and it.is_admitted]
    if used:
        ids, times = zip(*used, strict=True)
        session.execute(_USE, {"scanner_id": scanner_id, "ids": list(ids), "times": list(times)})
    _count(session, event_id, gate, judged)


def _count(session: Session, event_id: UUID, gate: str | None, judged: Iterable[Judgement]) -> None:
    scans: Counter[tuple[datetime, UUID | None, ScanResult, bool]] = Counter()
    inside = scans.copy()
    for it in judged:
        kind = quarter_of(it.scanned_at), it.ticket.tier_id if it.ticket else None, it.result, it.is_offline
        scans[kind] += 1
        inside[kind] += it.is_admitted
    statement = insert(DoorCount).values(
        [
            {
                "event_id": event_id,
                "quarter": quarter,
                "gate": gate,
                "tier_id": tier_id,
                "result": result,
                "is_offline": is_offline,
                "scans": scans[kind],
                "inside": inside[kind],
            }
            # Two uploads of one gate count in the same order, and so never wait for each other in a circle.
            for kind in sorted(scans, key=str)
            for quarter, tier_id, result, is_offline in [kind]
        ]
    )
    new = statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            constraint="uq_door_counts_kind",
            set_={"scans": DoorCount.scans + new.scans, "inside": DoorCount.inside + new.inside},
        )
    )


def count_out(session: Session, scan: CheckInScan, ticket: Ticket) -> None:
    """Count one less inside, where a scan had counted one more."""
    session.execute(
        update(DoorCount)
        .where(
            DoorCount.event_id == scan.event_id,
            DoorCount.quarter == quarter_of(scan.scanned_at),
            DoorCount.gate.is_not_distinct_from(scan.gate),
            DoorCount.tier_id == ticket.tier_id,
            DoorCount.result == scan.result,
            DoorCount.is_offline == scan.is_offline,
        )
        .values(inside=DoorCount.inside - 1)
    )


def list_tiers(session: Session, event_id: UUID) -> Sequence[TicketTier]:
    """Return an event's tiers in the promoter's order."""
    query = select(TicketTier).where(TicketTier.event_id == event_id)
    return session.scalars(query.order_by(TicketTier.sort_order, TicketTier.id)).all()
