"""How the lists of an event find their rows: the newest first by one index, or by what a person types into a search.

Each way to be found has an index of its own, and is asked for a page of its own, so that no search walks an event.
"""

import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, select, tuple_, union

from domain.models import Order, Ticket

LAST_ID = UUID(int=2**128 - 1)


def newest(rows: type[Order | Ticket], event_id: UUID, before: UUID | None, limit: int) -> Select[UUID]:
    """Return the query of the newest ids among an event's rows, those older than `before`.

    The place is compared as a whole, which the index over event and id alone can do: else the planner sees that the
    primary key has the same order, and may walk the rows of all other events before it comes to these.
    """
    place = tuple_(rows.event_id, rows.id)
    after_all = tuple_(event_id, before or LAST_ID)
    return _in_order(rows, limit).where(place < after_all, rows.event_id >= event_id)


def searched(rows: type[Order | Ticket], event_id: UUID, before: UUID | None, limit: int) -> Select[UUID]:
    """Return the same query to be narrowed by a search.

    Here the planner must guess how many rows an event has, to weigh the search's own index against a walk; of a place
    it would guess one.
    """
    query = _in_order(rows, limit).where(rows.event_id.between(event_id, event_id))
    return query if before is None else query.where(rows.id < before)


def _in_order(rows: type[Order | Ticket], limit: int) -> Select[UUID]:
    return select(rows.id).order_by(rows.event_id.desc(), rows.id.desc()).limit(limit)


def newest_of(ways: Sequence[Select[UUID]], limit: int) -> Select[UUID]:
    """Return the query of the newest ids of several, each of which returns its own newest."""
    pages = [way.subquery() for way in ways]
    found = union(*(select(page.c.id) for page in pages)).subquery()
    return select(found.c.id).order_by(found.c.id.desc()).limit(limit)


def order_number(words: str) -> str | None:
    """Return the number that a person may mean, `TV-42` or `00000042`, as it is stored; None if it is none."""
    found = re.fullmatch(r"(?:TV-)?([0-9]{1,19})", words, re.IGNORECASE)
    return f"TV-{int(found[1]):08d}" if found else None
