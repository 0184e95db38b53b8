"""`vendor audit`: every invariant on every event, what can be healed healed, and the verdict line by line."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from domain.invariants import inspection
from domain.invariants.breaches import MOST, Breach, Invariant, Scope
from domain.invariants.inspection import INVARIANTS, SECOND_LOOK, Found
from domain.payments import statements

EVENTS_AT_ONCE = 100
POLL_SECONDS = 0.5


def audit(sessions: sessionmaker[Session], patience: timedelta) -> int:
    """Print what breaks which invariant, and heal it; return 1 if a row was broken, healed or not.

    Healing a counter is its consumer's work, which is waited for, but not for ever.
    """
    with sessions() as session:
        event_ids = statements.find_sold_events(session)
    print(f"{len(event_ids)} events")
    found = {}
    for invariant in INVARIANTS:
        began = time.monotonic()
        breaches = _find(sessions, event_ids, patience, invariant)
        print(_verdict(invariant, breaches, time.monotonic() - began), flush=True)
        if breaches:
            found[invariant] = breaches
    left = _heal(sessions, event_ids, patience, found)
    print("\n".join(_lines(found, left)))
    return 1 if left or any(not invariant.may_pass for invariant in found) else 0


def _find(
    sessions: sessionmaker[Session], event_ids: Sequence[UUID], patience: timedelta, invariant: Invariant
) -> list[Breach]:
    breaches: list[Breach] = []
    for first in range(0, len(event_ids), EVENTS_AT_ONCE):
        scope = Scope(event_ids[first : first + EVENTS_AT_ONCE], datetime.now(UTC), patience)
        breaches += inspection.inspect(sessions, scope, [invariant]).get(invariant, ())
    return breaches


def _heal(sessions: sessionmaker[Session], event_ids: Sequence[UUID], patience: timedelta, found: Found) -> Found:
    """Heal, and look again until nothing is left that can be healed or may pass, or the time for it is over."""
    left, ends = found, time.monotonic() + SECOND_LOOK.total_seconds()
    while _is_hopeful(left) and time.monotonic() < ends:
        inspection.heal(sessions, left)
        time.sleep(POLL_SECONDS)
        looks = {invariant: _find(sessions, event_ids, patience, invariant) for invariant in left}
        left = {invariant: breaches for invariant, breaches in looks.items() if breaches}
    return left


def _is_hopeful(found: Found) -> bool:
    return any(invariant.may_pass or breach.can_heal for invariant, breach in _rows(found))


def _rows(found: Found) -> Iterator[tuple[Invariant, Breach]]:
    return ((invariant, breach) for invariant, breaches in found.items() for breach in breaches)


def _verdict(invariant: Invariant, breaches: Sequence[Breach], seconds: float) -> str:
    # More than can be read at once may be broken.
    count = f"{len(breaches)}{'+' if len(breaches) >= MOST else ''}"
    return f"{'BROKEN' if breaches else 'ok':<7}{invariant.name:<24}{count:>6}{seconds:>8.2f} s  {invariant.promise}"


def _lines(found: Found, left: Found) -> Iterable[str]:
    still = {(invariant.name, breach.id) for invariant, breach in _rows(left)}
    known = {(invariant.name, breach.id) for invariant, breach in _rows(found)}
    for invariant, breach in _rows(found):
        if (invariant.name, breach.id) not in still:
            yield f"healed  {_described(invariant, breach)}"
    for invariant, breach in _rows(left):
        yield f"BROKEN  {_described(invariant, breach)}"
    if later := still - known:
        yield f"{len(later)} of these were found only while the others were being healed."
    yield "Something is still broken." if left else "Every invariant holds."


def _described(invariant: Invariant, breach: Breach) -> str:
    return f"{invariant.name}: {breach.name} ({breach.id}): {breach.fault}"
