"""What an invariant is, and a row that breaks it. The invariants stand in `stock.py`, `orders.py` and `money.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.orm import Session

MOST = 100
"""So many broken rows of one invariant are read at once: memory stays flat, and the rest is found by the next look."""
OVERLAP = timedelta(seconds=30)
"""Requests closer than this may have overlapped, whatever their clocks say; far more than a request may last."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look, and from when on standing still is a fault.

    `patience` is the longest time that a step may take which nobody's clock bounds.
    """

    event_ids: Sequence[UUID]
    now: datetime
    patience: timedelta


@dataclass(frozen=True, slots=True)
class Breach:
    """A row that breaks an invariant: its id, by what people call it, and what differs."""

    id: UUID
    name: str
    fault: str
    can_heal: bool


Heal = Callable[[Session, UUID], bool]
"""Repair what can be derived of a row, or ring for whoever can; tell whether that was tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Invariant:
    """Something that is so in every snapshot of the rows, however busy they are.

    The statement returns the rows that break it, as `id, name, fault`. It is a single one, and so sees one moment:
    what changes together is seen together. `can_heal` may be a fourth column, where only some can.
    """

    name: str
    promise: str
    statement: TextClause
    heal: Heal | None = None
    may_pass: bool = False
    """Whether a single look proves nothing, because somebody else is about to put it right."""

    def find(self, session: Session, scope: Scope) -> list[Breach]:
        """Return the rows that break it, at most `MOST`."""
        values = {
            "event_ids": list(scope.event_ids),
            "now": scope.now,
            "patience": scope.patience,
            "overlap": OVERLAP,
            "most": MOST,
        }
        rows = session.execute(self.statement, values).mappings()
        can_heal = self.heal is not None
        return [Breach(row["id"], row["name"], row["fault"], can_heal and row.get("can_heal", True)) for row in rows]
