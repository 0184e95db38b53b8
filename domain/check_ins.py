"""Check-ins: each scan of a gate becomes a row with its result, a ticket lets in once, and a check-in can be undone.

What a gate is told without asking (the list, the figures) is in `door.py`; why it is so, in docs/adr/0020.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from domain import audit, check_in_records, outgoing
from domain.audit import Actor
from domain.check_in_records import DoorTicket, Judgement
from domain.door import doors_of
from domain.errors import BadSignatureError, ConflictError, NotFoundError
from domain.models import CheckInScan, Event
from domain.ownership import find_event, find_event_of
from domain.ports import Signer
from domain.rules.door import Doors, admits, judge_scan, judge_ticket
from domain.rules.lifecycle import may_become
from domain.rules.states import ScanResult, TeamRight, TicketStatus, WebhookType

_CODE = re.compile(r"[A-Za-z0-9_-]{22,64}")


@dataclass(frozen=True, slots=True)
class Scan:
    """What a gate read: the signed text of a QR code, or a ticket's bare code. `nonce` names the scan for good.

    An offline one tells that somebody was let in, at `offline_at` by the gate's clock; the others ask.
    """

    nonce: str
    text: str
    is_signed: bool
    offline_at: datetime | None = None

    @property
    def is_offline(self) -> bool:
        """Tell whether somebody was let in before we were told."""
        return self.offline_at is not None

    @property
    def fingerprint(self) -> bytes:
        """Return what tells this scan from another one under the same nonce."""
        return hashlib.sha256(f"{self.is_signed:d}{self.text}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scan; none is kept where its nonce stands for another one."""

    nonce: str
    scan: CheckInScan | None
    is_repeated: bool


def check_in(
    session: Session,
    signer: Signer,
    actor: Actor,
    event_id: UUID,
    gate: str | None,
    scans: Sequence[Scan],
    now: datetime,
) -> list[Outcome]:
    """Record scans, each once per nonce for good, and return what became of them, in their order.

    All of them take a few statements. Raises what `find_event` raises, for the right to scan.
    """
    event = find_event(session, actor, event_id, TeamRight.SCAN)
    scanner_id = actor.user_id
    assert scanner_id is not None, "whoever has a right is somebody"
    check_in_records.take_turns(session, scanner_id)
    nonces = {scan.nonce for scan in scans}
    seen = check_in_records.find_nonces(session, scanner_id, nonces)
    fresh: dict[str, Scan] = {}
    for scan in scans:
        if scan.nonce not in seen:
            fresh.setdefault(scan.nonce, scan)
    if fresh:
        judged = _judge(session, signer, event, list(fresh.values()), now)
        check_in_records.write(session, event.id, gate, scanner_id, judged, now)
        _tell(session, event, judged)
        new = {"gate": gate, "scans": len(judged), "admitted": sum(it.is_admitted for it in judged)}
        audit.record(session, actor, "event.check_in", event, new=new)
    kept = check_in_records.find_scans(session, scanner_id, nonces)
    outcomes = []
    for scan in scans:
        outcomes.append(_outcome(event, scan, kept[scan.nonce], is_repeated=scan.nonce in seen))
        seen.add(scan.nonce)
    return outcomes


def _tell(session: Session, event: Event, judged: Sequence[Judgement]) -> None:
    admitted = [
        {"ticket_id": str(it.ticket.id), "scan_id": str(it.id), "offline": it.is_offline}
        for it in judged
        if it.ticket and it.is_admitted
    ]
    if admitted:
        outgoing.tell_each(session, event.id, WebhookType.TICKET_CHECKED_IN, admitted)


def _outcome(event: Event, scan: Scan, kept: CheckInScan, *, is_repeated: bool) -> Outcome:
    is_same = (kept.event_id, kept.fingerprint) == (event.id, scan.fingerprint)
    return Outcome(scan.nonce, kept if is_same else None, is_repeated and is_same)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a scan says by itself: a code to look for, or why there is none. Only what is signed has a version."""

    code: str | None = None
    version: int | None = None
    refusal: ScanResult = ScanResult.UNKNOWN


def _read(signer: Signer, event: Event, scan: Scan) -> _Reading:
    if not scan.is_signed:
        return _Reading(scan.text if _CODE.fullmatch(scan.text) else None)
    try:
        claims = signer.verify(scan.text)
    except BadSignatureError:
        return _Reading(refusal=ScanResult.BAD_SIGNATURE)
    if claims.event_id != event.id:
        return _Reading(refusal=ScanResult.WRONG_EVENT)
    # We sign what we issue: a genuine code that is not there has been replaced by another.
    return _Reading(claims.code, claims.version, ScanResult.TRANSFERRED)


def _judge(session: Session, signer: Signer, event: Event, scans: Sequence[Scan], now: datetime) -> list[Judgement]:
    readings = [_read(signer, event, scan) for scan in scans]
    codes = {reading.code for reading in readings if reading.code is not None}
    tickets, foreign = check_in_records.lock_tickets(session, event.id, codes)
    used = [ticket.id for ticket in tickets.values() if ticket.status is TicketStatus.USED]
    admissions = check_in_records.find_admissions(session, used)
    turn = _Turn(doors_of(event), now, admissions)
    judged = []
    for scan, reading in zip(scans, readings, strict=True):
        ticket = tickets.get(reading.code) if reading.code is not None else None
        if ticket is None or reading.version not in {None, ticket.code_version}:
            is_foreign = reading.code in foreign
            judged.append(turn.refuse(scan, ScanResult.WRONG_EVENT if is_foreign else reading.refusal))
        else:
            judged.append(turn.judge(scan, ticket))
    return judged


@dataclass(frozen=True, slots=True)
class _Turn:
    """The scans of one upload, one after the other: a ticket that the first one uses is used for the next."""

    doors: Doors
    now: datetime
    admissions: dict[UUID, UUID]
    """By which scan each ticket is used."""

    def refuse(self, scan: Scan, result: ScanResult) -> Judgement:
        """Return the result of a scan that shows no ticket of the event."""
        return self._conclude(scan, None, result, is_admitted=False)

    def judge(self, scan: Scan, ticket: DoorTicket) -> Judgement:
        """Return the result of a ticket's scan, which may use the ticket."""
        worth = judge_ticket(ticket.status, is_disputed=ticket.is_disputed, is_being_refunded=ticket.is_being_refunded)
        result = judge_scan(worth, self.doors, self.now, is_offline=scan.is_offline)
        is_admitted = admits(result, ticket.status, is_offline=scan.is_offline)
        judgement = self._conclude(scan, ticket, result, is_admitted=is_admitted)
        if is_admitted:
            ticket.status = TicketStatus.USED
            self.admissions[ticket.id] = judgement.id
        return judgement

    def _conclude(self, scan: Scan, ticket: DoorTicket | None, result: ScanResult, *, is_admitted: bool) -> Judgement:
        scanned_at = self.doors.believe(scan.offline_at, self.now) if scan.offline_at is not None else self.now
        return Judgement(
            id=uuid7(),
            nonce=scan.nonce,
            fingerprint=scan.fingerprint,
            ticket=ticket,
            result=result,
            is_offline=scan.is_offline,
            is_admitted=is_admitted,
            earlier_scan_id=self.admissions.get(ticket.id) if ticket else None,
            scanned_at=scanned_at,
        )


def undo(session: Session, actor: Actor, scan_id: UUID, now: datetime) -> CheckInScan:
    """Take a check-in back, so that its ticket lets in again, and return its scan; a repetition changes nothing.

    Raises `NotFoundError` and `ForbiddenError` as `find_event` does, for the right to manage; `ConflictError` if the
    scan let nobody in, or the ticket has been taken back since.
    """
    event_id = session.scalar(select(CheckInScan.event_id).where(CheckInScan.id == scan_id))
    if event_id is None:
        raise NotFoundError("check-in")
    find_event_of(session, actor, event_id, TeamRight.MANAGE, "check-in")
    scan, ticket = check_in_records.lock_scan(session, scan_id)
    if scan.undone_at is not None:
        return scan
    if ticket is None or not scan.is_admitted:
        raise ConflictError("This scan let nobody in.", code="check-in-not-undoable")
    if not may_become(ticket.status, TicketStatus.VALID):
        raise ConflictError(f"The ticket is {ticket.status} by now.", code="check-in-not-undoable")
    old = {"ticket_id": str(ticket.id), "checked_in_at": scan.scanned_at.isoformat(), "gate": scan.gate}
    ticket.status, ticket.checked_in_at, ticket.checked_in_by_id = TicketStatus.VALID, None, None
    scan.undone_at, scan.undone_by_id = now, actor.user_id
    check_in_records.count_out(session, scan, ticket)
    audit.record(session, actor, "check_in.undo", scan, old=old, new={"undone_at": now.isoformat()})
    return scan
