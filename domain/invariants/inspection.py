"""Looking at events, one after another: which rows break an invariant, healing them, and looking again.

An event is the unit: every invariant holds within one, and no statement runs long enough to keep old rows alive.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from domain.invariants import money, orders, stock
from domain.invariants.breaches import Breach, Invariant, Scope
from domain.models import Event, Inspection
from domain.one_by_one import one_by_one
from domain.pace import RESTS_SECONDS, Pace
from domain.rules.states import EventStatus

log = logging.getLogger(__name__)

INVARIANTS = (*stock.INVARIANTS, *orders.INVARIANTS, *money.INVARIANTS)

PAUSE = timedelta(minutes=1)
"""An event that is still to come is looked at no sooner again."""
LONG_PAUSE = timedelta(days=1)
"""Nor one that is over."""
SECOND_LOOK = timedelta(seconds=15)
"""Healing is done by then, and a tier that was without an owner has been adopted."""
SHARE = 20
"""Looking at an event takes at most one part in so many of the time, however many orders it has."""
DUE_LIMIT = 100

Found = Mapping[Invariant, Sequence[Breach]]
Ids = Mapping[str, Sequence[str]]
"""Of broken rows, by the name of the invariant."""


def inspect(
    sessions: sessionmaker[Session],
    scope: Scope,
    invariants: Iterable[Invariant] = INVARIANTS,
    *,
    rests_seconds: float = 0,
) -> Found:
    """Return what is broken, by invariant; those that hold are not named. Rests between them for so long in all."""
    found, pace = {}, Pace(rests_seconds)
    for invariant in invariants:
        with pace.step(), sessions() as session:
            if breaches := invariant.find(session, scope):
                found[invariant] = breaches
    return found


def heal(sessions: sessionmaker[Session], found: Found) -> int:
    """Put right what can be derived, each row in a transaction of its own; return for how many that was tried."""
    healed = 0
    for invariant, breaches in found.items():
        if invariant.heal is not None:
            healed += one_by_one(sessions, [breach.id for breach in breaches if breach.can_heal], invariant.heal)
    return healed


def find_due(session: Session, now: datetime) -> Sequence[UUID]:
    """Return the events to look at now, those that nobody has looked at first, then the longest due."""
    return session.scalars(
        select(Event.id)
        .outerjoin(Inspection, Inspection.event_id == Event.id)
        .where(Event.published_at.is_not(None), or_(Inspection.due_at.is_(None), Inspection.due_at <= now))
        .order_by(Inspection.due_at.nulls_first(), Event.id)
        .limit(DUE_LIMIT)
    ).all()


def inspect_event(sessions: sessionmaker[Session], event_id: UUID, now: datetime, patience: timedelta) -> Found:
    """Look at an event, heal what can be healed, and keep what was found; return what is broken for good.

    What was healed, or may pass, is only suspected; found again by the next look, soon after, it is an alarm. So is
    at once what nobody can derive. An alarm is logged once, as critical, and stays in the row.
    """
    began = time.monotonic()
    found = inspect(sessions, Scope([event_id], now, patience), rests_seconds=RESTS_SECONDS)
    with sessions() as session:
        last = session.get(Inspection, event_id)
    known = _union(last.breaches, last.suspects) if last else {}
    broken = _part(found, lambda invariant, breach: _is_certain(invariant, breach) or _knows(known, invariant, breach))
    suspected = _part(found, lambda invariant, breach: breach not in broken.get(invariant, ()))
    _tell(event_id, broken, last.breaches if last else {}, suspected)
    heal(sessions, found)
    with sessions.begin() as session:
        _keep(session, event_id, broken, suspected, now, took=timedelta(seconds=time.monotonic() - began))
    return broken


def _is_certain(invariant: Invariant, breach: Breach) -> bool:
    return not (breach.can_heal or invariant.may_pass)


def _knows(ids: Ids, invariant: Invariant, breach: Breach) -> bool:
    return str(breach.id) in ids.get(invariant.name, ())


def _union(one: Ids, other: Ids) -> Ids:
    return {name: [*one.get(name, ()), *other.get(name, ())] for name in {*one, *other}}


def _part(found: Found, belongs: Callable[[Invariant, Breach], bool]) -> Found:
    parts = {
        invariant: [breach for breach in breaches if belongs(invariant, breach)]
        for invariant, breaches in found.items()
    }
    return {invariant: breaches for invariant, breaches in parts.items() if breaches}


def _tell(event_id: UUID, broken: Found, told: Ids, suspected: Found) -> None:
    for invariant, breach in _rows(broken):
        if not _knows(told, invariant, breach):
            log.critical("invariant.broken %s", _described(event_id, invariant, breach))
    for invariant, breach in _rows(suspected):
        if breach.can_heal:
            log.error("invariant.healing %s", _described(event_id, invariant, breach))


def _rows(found: Found) -> Iterator[tuple[Invariant, Breach]]:
    return ((invariant, breach) for invariant, breaches in found.items() for breach in breaches)


def _described(event_id: UUID, invariant: Invariant, breach: Breach) -> str:
    return f"invariant={invariant.name} event={event_id} id={breach.id} name={breach.name} fault={breach.fault}"


def _keep(session: Session, event_id: UUID, broken: Found, suspected: Found, now: datetime, *, took: timedelta) -> None:
    is_over = session.get_one(Event, event_id).status is not EventStatus.PUBLISHED
    pause = SECOND_LOOK if suspected else LONG_PAUSE if is_over and not broken else PAUSE
    values = {
        "made_at": now,
        "due_at": now + max(pause, SHARE * took),
        "breaches": _ids(broken),
        "suspects": _ids(suspected),
    }
    session.execute(
        insert(Inspection)
        .values(event_id=event_id, **values)
        .on_conflict_do_update(index_elements=[Inspection.event_id], set_=values)
    )


def _ids(found: Found) -> Ids:
    return {invariant.name: [str(breach.id) for breach in breaches] for invariant, breaches in found.items()}
