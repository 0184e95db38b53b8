"""The attendees of an event: who holds its tickets, and who is in, for the promoter's team; codes are not here."""

from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, literal_column, select
from sqlalchemy.orm import Session

from domain import exports
from domain.audit import Actor
from domain.event_rows import newest, newest_of, order_number, searched
from domain.exports import Export, Rows
from domain.models import Order, Ticket, TicketTier
from domain.ownership import find_event
from domain.rules.states import TeamRight, TicketStatus

# Spelled like the index ix_tickets_search, or it would not serve it.
_ATTENDEE = literal_column("(tickets.attendee_name || ' ' || tickets.attendee_email)", Text)
_ROW = (
    select(
        Ticket.id,
        Ticket.attendee_name,
        Ticket.attendee_email,
        Ticket.tier_id,
        TicketTier.name.label("tier_name"),
        Ticket.order_id,
        Order.number.label("order_number"),
        Ticket.status,
        Ticket.blocked_at.is_not(None).label("is_blocked"),
        Ticket.checked_in_at,
        Ticket.transferred_at,
        Ticket.created_at,
    )
    .join(TicketTier, TicketTier.id == Ticket.tier_id)
    .join(Order, Order.id == Ticket.order_id)
)
COLUMNS = tuple(_ROW.selected_columns.keys())


@dataclass(frozen=True, slots=True)
class AttendeeFilter:
    """What to find; what is None does not narrow it. `words` is an order's number, or a part of a name or address."""

    tier_id: UUID | None = None
    status: TicketStatus | None = None
    is_checked_in: bool | None = None
    words: str | None = None


def list_attendees(
    session: Session, actor: Actor, event_id: UUID, wanted: AttendeeFilter, *, before: UUID | None, limit: int
) -> Rows:
    """Return the newest tickets that match, those older than the ticket `before`, at most `limit` + 1 of them.

    Whoever sells or scans may see them. Raises as `ownership.find_event` does.
    """
    event = find_event(session, actor, event_id, TeamRight.SELL, TeamRight.SCAN)
    return _read(session, event.id, wanted, before, limit + 1)


def begin_export(session: Session, actor: Actor, event_id: UUID, wanted: AttendeeFilter, form: str) -> Export:
    """Return the export of all tickets that match, and put it on record.

    Whoever only scans takes no list home. Raises as `ownership.find_event` does.
    """
    event = find_event(session, actor, event_id, TeamRight.SELL)
    export = Export(
        "attendees", COLUMNS, lambda session, before, limit: _read(session, event_id, wanted, before, limit)
    )
    exports.record(session, actor, event, export, asdict(wanted), form)
    return export


def _read(session: Session, event_id: UUID, wanted: AttendeeFilter, before: UUID | None, limit: int) -> Rows:
    if wanted.words is None:
        page = newest(Ticket, event_id, before, limit).where(*_conditions(wanted))
    else:
        candidates = searched(Ticket, event_id, before, limit).where(*_conditions(wanted))
        page = newest_of(_ways(candidates, wanted.words), limit)
    ids = page.subquery()
    return session.execute(_ROW.where(Ticket.id.in_(select(ids.c.id))).order_by(Ticket.id.desc())).all()


def _ways(page: Select[UUID], words: str) -> list[Select[UUID]]:
    way = page.where(_ATTENDEE.icontains(words, autoescape=True))
    number = order_number(words)
    return [way, page.join(Order, Order.id == Ticket.order_id).where(Order.number == number)] if number else [way]


def _conditions(wanted: AttendeeFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.tier_id is not None:
        conditions.append(Ticket.tier_id == wanted.tier_id)
    if wanted.status is not None:
        conditions.append(Ticket.status == wanted.status)
    if wanted.is_checked_in is not None:
        is_in = Ticket.checked_in_at.is_not(None)
        conditions.append(is_in if wanted.is_checked_in else ~is_in)
    return conditions
