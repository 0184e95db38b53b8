"""Finding and reading events: the public list with its filters, a promoter's own list, and single events.

Order is by start, then id; pages go by that key, so that an event never appears twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session, contains_eager

from domain.audit import Actor
from domain.errors import NotFoundError
from domain.models import Event, Promoter, TeamMember
from domain.models.catalog import PUBLIC
from domain.ownership import IN_OFFICE, may_see, rights_in

Key = tuple[datetime, UUID]
"""Start and id of the last event of the page before."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What the reader looks for; what is null does not matter."""

    words: str | None = None
    category: str | None = None
    tag: str | None = None
    city: str | None = None
    starts_from: datetime | None = None
    starts_before: datetime | None = None
    is_featured: bool | None = None


def find_events(
    session: Session, wanted: EventFilter, now: datetime, *, limit: int, after: Key | None = None
) -> Sequence[Event]:
    """Return public events in order of their start, at most `limit` + 1.

    Unless a date is asked for, those that have ended are left out.
    """
    # As text, so that the planner sees the condition of the partial indexes, and no parameter in its place.
    query = select(Event).where(text(PUBLIC), *_conditions(wanted))
    if wanted.starts_from is None:
        query = query.where(Event.ends_at > now)
    return _page(session, query, limit, after)


def find_own_events(
    session: Session, user_id: UUID, wanted: EventFilter, *, limit: int, after: Key | None = None
) -> Sequence[Event]:
    """Return the events of the user and of those whose teams they are in, whatever their status, at most `limit` + 1.

    They come in order of their start.
    """
    own = select(Promoter.id).where(Promoter.user_id == user_id)
    in_team = select(TeamMember.promoter_id).where(TeamMember.user_id == user_id)
    theirs = select(Promoter.id).join(Promoter.user).where(Promoter.id.in_(own.union_all(in_team)), IN_OFFICE)
    query = select(Event).where(Event.promoter_id.in_(theirs), Event.deleted_at.is_(None), *_conditions(wanted))
    return _page(session, query, limit, after)


def read_event(session: Session, actor: Actor, event_id: UUID) -> Event:
    """Return an event with its promoter; raise `NotFoundError` if there is none that the actor may see."""
    if (event := _find_visible(session, actor, event_id)) is None:
        raise NotFoundError("event")
    return event


def is_insider(session: Session, actor: Actor, event_id: UUID) -> bool:
    """Tell whether there is such an event, and the actor is its promoter, in their team, or an admin."""
    event = _find_visible(session, actor, event_id)
    return event is not None and bool(rights_in(session, event, actor))


def _find_visible(session: Session, actor: Actor, event_id: UUID) -> Event | None:
    event = session.scalar(
        select(Event)
        .join(Event.promoter)
        .options(contains_eager(Event.promoter))
        .where(Event.id == event_id, Event.deleted_at.is_(None))
    )
    return event if event is not None and may_see(session, event, actor) else None


def _page(session: Session, query: Select[Event], limit: int, after: Key | None) -> Sequence[Event]:
    if after is not None:
        query = query.where(tuple_(Event.starts_at, Event.id) > after)
    query = query.join(Event.promoter).options(contains_eager(Event.promoter))
    return session.scalars(query.order_by(Event.starts_at, Event.id).limit(limit + 1)).all()


def _conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.words is not None:
        conditions.append(_matches(wanted.words))
    if wanted.category is not None:
        conditions.append(func.lower(Event.category) == func.lower(wanted.category))
    if wanted.tag is not None:
        conditions.append(Event.tags.contains([wanted.tag.lower()]))
    if wanted.city is not None:
        conditions.append(func.lower(Event.city) == func.lower(wanted.city))
    if wanted.starts_from is not None:
        conditions.append(Event.starts_at >= wanted.starts_from)
    if wanted.starts_before is not None:
        conditions.append(Event.starts_at < wanted.starts_before)
    if wanted.is_featured is not None:
        conditions.append(Event.is_featured == wanted.is_featured)
    return conditions


def _matches(words: str) -> ColumnElement[bool]:
    """Match what a person types: all words, "a phrase", or, -without; the last word may be unfinished.

    The syntax is websearch_to_tsquery's, which accepts any text. A query whose text ends with a quote ends with a
    word, and that word becomes a prefix.
    """
    query = func.websearch_to_tsquery("simple", words)
    with_prefix = func.regexp_replace(query.cast(Text), "'$", "':*").cast(TSQUERY)
    return Event.search_vector.bool_op("@@")(with_prefix)
