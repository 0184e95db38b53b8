"""Rows of a period in a list that is sorted by id: since ids grow with time, the list starts where the period ends."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute

from domain.rules.identifiers import first_id_of

SLACK = timedelta(hours=1)
"""A row's id and its time are made on two machines, one of them at the start of the transaction."""


def within(
    identifier: InstrumentedAttribute[UUID],
    at: InstrumentedAttribute[datetime],
    since: datetime | None,
    until: datetime | None,
) -> list[ColumnElement[bool]]:
    """Return the conditions for rows with `since` <= `at` < `until`; None is no bound.

    The bounds of the id let an index on it skip what lies outside; `at` alone decides.
    """
    conditions: list[ColumnElement[bool]] = []
    if since is not None:
        conditions += [at >= since, identifier >= first_id_of(since, -SLACK)]
    if until is not None:
        conditions += [at < until, identifier < first_id_of(until, SLACK)]
    return conditions
