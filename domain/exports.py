"""Exports: a list written down whole for a person, as an act that is on record.

Which rows a list has is said by its noun (event_orders.py, attendees.py), how a file looks by adapters/spreadsheets.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from domain import audit
from domain.audit import Actor
from domain.errors import ConflictError
from domain.models import Event

BATCH = 1000
Rows = Sequence[Row[*tuple[Any, ...]]]
ReadPage = Callable[[Session, UUID | None, int], Rows]
"""Returns so many rows behind an id, whose first column is their own id."""


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported: the names of its columns, and how to read the next rows."""

    name: str
    columns: Sequence[str]
    read: ReadPage

    def batches(self, sessions: Callable[[], Session], *, most: int | None = None) -> Iterator[Rows]:
        """Yield all rows, a batch at a time, each in a transaction of its own.

        While a slow client takes a batch in, neither a connection nor a snapshot waits for it. A row appears once,
        since its id never changes, as it is when its batch is read; rows that are added meanwhile do not appear.
        Raises `ConflictError` (`export-too-large`) after `most` rows, if there are more.
        """
        last, count = None, 0
        while True:
            with sessions() as session:
                rows = self.read(session, last, BATCH)
            count += len(rows)
            if most is not None and count > most:
                raise ConflictError(f"Such a file has at most {most} rows: ask for CSV.", code="export-too-large")
            yield rows
            if len(rows) < BATCH:
                return
            last = rows[-1][0]


def record(session: Session, actor: Actor, event: Event, export: Export, wanted: Mapping[str, Any], form: str) -> None:
    """Write down who took which list of an event, in which form, and by which filters it was narrowed."""
    # What was searched for may be somebody's name, so it is only told that something was.
    told = {name: "given" if name == "words" else str(value) for name, value in wanted.items() if value is not None}
    audit.record(session, actor, f"{export.name}.export", event, new={"form": form, **told})
