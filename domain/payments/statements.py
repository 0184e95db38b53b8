"""Statements of an event's money: asked for, made, kept for a while, and read by who sells.

What agrees and what does not is decided in `rules/statements.py`; our half of it is read in `sales.py`.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased, sessionmaker

from domain.audit import Actor
from domain.errors import NotFoundError, VendorError
from domain.messages import MakeStatement, Message, announce
from domain.models import Event, LedgerEntry, Order, Statement
from domain.models.base import JSONObject
from domain.ownership import find_event
from domain.payments.sales import read_sales
from domain.ports import ChargeReading, PaymentGateway
from domain.rules.statements import Captured, Comparison, Mismatch, Money, compare
from domain.rules.states import TeamRight

log = logging.getLogger(__name__)

FRESH = timedelta(minutes=1)
"""Whoever reads an older statement has the next one made."""
RECENT = timedelta(days=2)
KEPT = timedelta(days=30)
PAUSE = timedelta(minutes=1)
"""A statement that nobody was at for so long is rung for again."""
SIGN_OF_LIFE = 500
"""Charges of the provider between two signs that somebody is at it: some five pages."""
DOUBTS = 500
"""So many charges are read singly where the provider's search, which lags, does not agree with us."""
LISTED = 50
"""So many mismatches are kept with a statement, the largest; all of them are counted."""
STALLED_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Reckoning:
    """An event's comparison, in minor units of its currency, as of the moment at which the provider was asked."""

    event_id: UUID
    title: str
    currency: str
    as_of: datetime
    comparison: Comparison


def request(session: Session, event_id: UUID) -> None:
    """Ask for a statement of an event and ring for it, unless one is being made already."""
    asked_for = session.scalar(
        insert(Statement)
        .values(event_id=event_id)
        .on_conflict_do_nothing(index_elements=[Statement.event_id], index_where=Statement.made_at.is_(None))
        .returning(Statement.id)
    )
    if asked_for is not None:
        announce(session, MakeStatement(asked_for))


def request_recent(session: Session, now: datetime) -> int:
    """Ask for the statements of all events whose money moved in the last two days; return how many those are."""
    moved = session.scalars(
        select(Order.event_id)
        .join(LedgerEntry, LedgerEntry.order_id == Order.id)
        .where(LedgerEntry.at > now - RECENT)
        .distinct()
    ).all()
    for event_id in moved:
        request(session, event_id)
    return len(moved)


def consult(session: Session, actor: Actor, event_id: UUID, now: datetime) -> tuple[Statement | None, bool]:
    """Return the last statement of an event, and whether a newer one is being made: where it is old, one is asked for.

    Raises `NotFoundError` if the actor may not see the event, `ForbiddenError` if they may not see its money.
    """
    find_event(session, actor, event_id, TeamRight.SELL)
    last = session.scalar(
        select(Statement)
        .where(Statement.event_id == event_id, Statement.made_at.is_not(None))
        .order_by(Statement.made_at.desc())
        .limit(1)
    )
    if last is None or last.made_at is None or last.made_at < now - FRESH:
        request(session, event_id)
        return last, True
    under_way = session.scalar(select(Statement.id).where(Statement.event_id == event_id, Statement.made_at.is_(None)))
    return last, under_way is not None


def make(sessions: sessionmaker[Session], gateway: PaymentGateway, statement_id: UUID) -> None:
    """Make a statement that was asked for; a difference is logged as an error.

    A provider in trouble leaves it under way, to be rung again.
    """
    event_id = _sign_of_life(sessions, statement_id)
    if event_id is None:
        return
    charges = _watched(sessions, statement_id, gateway.list_charges(event_id))
    try:
        reckoning = _reckon(sessions, gateway, event_id, charges)
    except VendorError as error:
        log.warning("statement.postponed event=%s code=%s %s", event_id, error.code, error.message)
        return
    with sessions.begin() as session:
        _keep(session, statement_id, reckoning)
    if reckoning.comparison.difference:
        log.error(
            "statement.difference event=%s difference=%s currency=%s mismatches=%s",
            event_id,
            reckoning.comparison.difference,
            reckoning.currency,
            len(reckoning.comparison.mismatches),
        )


def reckon(sessions: sessionmaker[Session], gateway: PaymentGateway, event_id: UUID) -> Reckoning:
    """Compare an event's three accounts right now, and keep nothing.

    Raises `NotFoundError` for an unknown event, `VendorError` if the provider is in trouble.
    """
    with sessions() as session:
        if session.get(Event, event_id) is None:
            raise NotFoundError("event")
    return _reckon(sessions, gateway, event_id, gateway.list_charges(event_id))


def find_sold_events(session: Session) -> Sequence[UUID]:
    """Return every event that may have been sold, which a draft was not, the oldest first."""
    return session.scalars(select(Event.id).where(Event.published_at.is_not(None)).order_by(Event.id)).all()


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for statements that nobody was at for a while before then."""
    waiting = session.scalars(
        select(Statement.id)
        .where(Statement.made_at.is_(None), Statement.requested_at < before - PAUSE)
        .order_by(Statement.requested_at)
        .limit(STALLED_LIMIT)
    )
    return [MakeStatement(statement_id) for statement_id in waiting]


def delete_superseded(session: Session, now: datetime) -> None:
    """Delete what is a month old and has a successor."""
    successor = aliased(Statement)
    has_successor = (
        select(successor.id)
        .where(successor.event_id == Statement.event_id, successor.made_at > Statement.made_at)
        .exists()
    )
    session.execute(delete(Statement).where(Statement.made_at < now - KEPT, has_successor))


def _sign_of_life(sessions: sessionmaker[Session], statement_id: UUID) -> UUID | None:
    """Say that somebody is at a statement; return its event, or None if there is nothing to make."""
    with sessions.begin() as session:
        return session.scalar(
            update(Statement)
            .where(Statement.id == statement_id, Statement.made_at.is_(None))
            .values(requested_at=func.now())
            .returning(Statement.event_id)
        )


def _watched(
    sessions: sessionmaker[Session], statement_id: UUID, charges: Iterable[ChargeReading]
) -> Iterator[ChargeReading]:
    """Pass the provider's charges on; a big event has minutes of them, in which nobody else should begin."""
    for number, charge in enumerate(charges, start=1):
        yield charge
        if number % SIGN_OF_LIFE == 0:
            _sign_of_life(sessions, statement_id)


def _reckon(
    sessions: sessionmaker[Session], gateway: PaymentGateway, event_id: UUID, charges: Iterable[ChargeReading]
) -> Reckoning:
    """Compare, and once more what does not agree: a charge read by its intent is as the provider has it now."""
    with sessions() as session:
        since = session.scalars(select(func.clock_timestamp())).one()
    captured = {charge.intent_id or charge.id: _captured(charge) for charge in charges}
    reckoning = _compare(sessions, event_id, since, captured.values())
    for intent_id in reckoning.comparison.doubtful[:DOUBTS]:
        if reading := gateway.find_charge(intent_id):
            captured[intent_id] = _captured(reading)
    return _compare(sessions, event_id, since, captured.values()) if reckoning.comparison.doubtful else reckoning


def _captured(charge: ChargeReading) -> Captured:
    money = Money(charge.amount, charge.fee, charge.refunded, charge.withdrawn)
    return Captured(charge.id, charge.intent_id, charge.currency.upper(), money)


def _compare(
    sessions: sessionmaker[Session], event_id: UUID, since: datetime, captured: Iterable[Captured]
) -> Reckoning:
    with sessions.begin() as session:
        event = session.get_one(Event, event_id)
        comparison = compare(captured, read_sales(session, event_id, since))
        return Reckoning(event_id, event.title, event.currency, since, comparison)


def _keep(session: Session, statement_id: UUID, reckoning: Reckoning) -> None:
    session.execute(
        update(Statement)
        .where(Statement.id == statement_id, Statement.made_at.is_(None))
        .values(made_at=func.now(), body=_body(reckoning), difference=reckoning.comparison.difference)
        .execution_options(synchronize_session=False)
    )


def _body(reckoning: Reckoning) -> JSONObject:
    comparison = reckoning.comparison
    return {
        "as_of": reckoning.as_of.isoformat(),
        "currency": reckoning.currency,
        "provider": _money(comparison.provider),
        "ledger": _money(comparison.ledger),
        "unsplit_fees": comparison.unsplit_fees,
        "tickets": {"live": comparison.live_tickets, "face_value": comparison.live_value},
        "mismatches": _listed(comparison.mismatches),
        "mismatch_counts": dict(Counter(mismatch.kind.value for mismatch in comparison.mismatches)),
        "moving": _listed(comparison.moving),
        "moving_count": len(comparison.moving),
    }


def _money(money: Money) -> dict[str, int]:
    return {**asdict(money), "kept": money.kept}


def _listed(mismatches: Iterable[Mismatch]) -> list[dict[str, Any]]:
    largest = sorted(mismatches, key=lambda mismatch: abs(mismatch.difference), reverse=True)[:LISTED]
    return [
        {
            "kind": mismatch.kind.value,
            "order_id": str(mismatch.order_id) if mismatch.order_id else None,
            "order_number": mismatch.order_number,
            "charge_id": mismatch.charge_id,
            "provider": mismatch.provider,
            "ledger": mismatch.ledger,
            "tickets": mismatch.tickets,
            "difference": mismatch.difference,
        }
        for mismatch in largest
    ]
