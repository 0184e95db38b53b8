"""An event's figures, read from materialized views that beat refreshes, with their age; nothing is counted here.

What the promoter is owed is no figure but a statement (domain/payments/statements.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Result, Uuid, column, func, literal_column, select, table, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from domain.audit import Actor
from domain.errors import InvalidError
from domain.models import AnalyticsRefresh, Event
from domain.ownership import find_event
from domain.pace import Pace
from domain.rules.states import OrderReason, TeamRight

VIEWS = text("SELECT matviewname FROM pg_matviews WHERE schemaname = current_schema() ORDER BY matviewname")
AS_OF = text("""
    SELECT CASE WHEN count(refreshed_at) = count(*) THEN min(refreshed_at) END
    FROM pg_matviews LEFT JOIN analytics_refreshes ON view = matviewname WHERE schemaname = current_schema()
""")
Figures = Mapping[str, Any]
MONTH = timedelta(days=31)
QUARTER = timedelta(days=92)
"""Hours and tiers multiply: an answer has at most 2,208 hours of each tier."""
NO_ORDERS = dict.fromkeys(("accepted", "held", "paid", "issued", "delivered"), 0)
NO_HOLDS = {"held": 0, "paid": 0, "pending": 0, "median_seconds": None}


@dataclass(frozen=True, slots=True)
class Analytics:
    """The figures of one event; whatever was committed by `as_of` is counted in."""

    event: Event
    as_of: datetime | None
    """None until all have been refreshed once."""
    sales: Sequence[Figures]
    """By tier and hour."""
    funnel: Figures
    refusals: Sequence[Figures]
    """By tier and reason."""
    unmet_demand: Sequence[Figures]
    """By tier: tickets that were refused as sold out, and what the waitlist waits for."""
    hold_conversion: Figures
    waitlist: Sequence[Figures]
    """By tier."""
    check_ins: Sequence[Figures]
    """By quarter of an hour and result."""
    mail: Sequence[Figures]
    """By template."""


def refresh(sessions: sessionmaker[Session]) -> list[str]:
    """Refresh the materialized views without locking out their readers, and note when; return their names.

    One that fails keeps none of the others back; the last such error is raised in the end.
    """
    with sessions() as session:
        names = list(session.scalars(VIEWS))
    pace, failure = Pace(), None
    for name in names:
        try:
            with pace.step(), sessions.begin() as session:
                _refresh(session, name)
        except DBAPIError as error:
            failure = error
    if failure is not None:
        raise failure
    return names


def _refresh(session: Session, name: str) -> None:
    session.execute(text(f'REFRESH MATERIALIZED VIEW CONCURRENTLY "{name}"'))
    # The transaction's beginning: the refresh sees at least what was committed by then.
    note = insert(AnalyticsRefresh).values(view=name, refreshed_at=func.now())
    session.execute(note.on_conflict_do_update(index_elements=["view"], set_={"refreshed_at": func.now()}))


def window(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Return between which moments sales and check-ins are asked for: the last month, where nothing is said.

    Raises `InvalidError` if that is no time, or more than a quarter of a year.
    """
    until = until or now
    since = since or until - MONTH
    if not since < until <= since + QUARTER:
        raise InvalidError("Ask for a time before `until`, at most 92 days at once.", pointer="/since")
    return since, until


def read(session: Session, actor: Actor, event_id: UUID, since: datetime, until: datetime) -> Analytics:
    """Return an event's figures; sales and check-ins are those from `since` to before `until`, the others all.

    Raises as `ownership.find_event` does.
    """
    event = find_event(session, actor, event_id, TeamRight.SELL)

    def figures(view: str, order: Sequence[str] = (), moment: str | None = None) -> list[Figures]:
        return _figures(session, view, event_id, order, (moment, since, until) if moment else None)

    # Before the figures, which may be newer then, and never older.
    as_of = session.scalar(AS_OF)
    refusals = figures("refusals_by_reason", ("tier_id", "reason"))
    waitlist = figures("waitlist_outcomes", ("tier_id",))
    return Analytics(
        event=event,
        as_of=as_of,
        sales=figures("sales_by_hour", ("hour", "tier_id"), "hour"),
        funnel=next(iter(figures("order_funnel")), NO_ORDERS),
        refusals=refusals,
        unmet_demand=_unmet_demand(refusals, waitlist),
        hold_conversion=next(iter(figures("hold_conversion")), NO_HOLDS),
        waitlist=waitlist,
        check_ins=figures("check_ins_by_quarter", ("quarter", "result"), "quarter"),
        mail=figures("mail_engagement", ("template",)),
    )


def _figures(
    session: Session,
    view: str,
    event_id: UUID,
    order: Sequence[str],
    window: tuple[str, datetime, datetime] | None,
) -> list[Figures]:
    rows = table(view, column("event_id", Uuid))
    conditions: list[ColumnElement[bool]] = [rows.c.event_id == event_id]
    if window is not None:
        moment, since, until = window
        conditions += [column(moment) >= since, column(moment) < until]
    found: Result[Any] = session.execute(
        select(literal_column("*")).select_from(rows).where(*conditions).order_by(*map(column, order))
    )
    return [{name: value for name, value in row.items() if name != "event_id"} for row in found.mappings()]


def _unmet_demand(refusals: Sequence[Figures], waitlist: Sequence[Figures]) -> list[Figures]:
    refused = {row["tier_id"]: row["tickets"] for row in refusals if row["reason"] == OrderReason.SOLD_OUT}
    waiting = {row["tier_id"]: row for row in waitlist if row["waiting"]}
    return [
        {
            "tier_id": tier_id,
            "refused_tickets": refused.get(tier_id, 0),
            "waiting_entries": waiting[tier_id]["waiting"] if tier_id in waiting else 0,
            "waiting_tickets": waiting[tier_id]["waiting_tickets"] if tier_id in waiting else 0,
        }
        for tier_id in sorted(refused.keys() | waiting.keys())
    ]
