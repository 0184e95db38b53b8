"""Cursor paging: what a client sends (`limit`, `cursor`) and what it gets back (`items`, `next_cursor`).

A cursor is the sort key of the last row of a page, opaque to clients. It is not signed: a forged one only moves the
window over rows that its bearer may see anyway. The queries themselves belong to the domain.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, Field

from domain.errors import InvalidError
from web.schemas.base import QueryArguments, ResponseBody

LIMIT_MAX = 100
Row = TypeVar("Row")
Item = TypeVar("Item", bound=BaseModel)

_READERS: dict[type, Callable[[Any], Any]] = {UUID: UUID, datetime: datetime.fromisoformat, str: str, int: int}


class PageArguments(QueryArguments):
    """The arguments of every list; a list with filters inherits from it."""

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX, description="How many items at most.")] = 20
    cursor: Annotated[
        str | None,
        Field(max_length=1000, description="`next_cursor` of the page before; without it, the first page."),
    ] = None

    def after(self, *types: type) -> tuple[Any, ...] | None:
        """Return the key behind which the page starts, one value per type (UUID, datetime, str or int).

        Raises `InvalidError` if the cursor is none of ours.
        """
        return decode_cursor(self.cursor, *types) if self.cursor is not None else None

    def after_id(self) -> UUID | None:
        """Return the id behind which the page starts, for lists that are sorted by it; raise as `after` does."""
        key = self.after(UUID)
        return key[0] if key else None


class Page(ResponseBody, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: Annotated[
        str | None,
        Field(
            description="Send it as `cursor` to get the next page; null on the last one.",
            examples=["WyIwMTk5YzJmMC03ZDZhLTdjM2UtOWIxZi0yYTRjNmU4ZjBiMWQiXQ"],
        ),
    ] = None


def cut(rows: Sequence[Row], limit: int, key: Callable[[Row], tuple[Any, ...]]) -> tuple[Sequence[Row], str | None]:
    """Split what a query with `LIMIT limit + 1` returned into the page and the cursor of the next one."""
    if len(rows) <= limit:
        return rows, None
    page = rows[:limit]
    return page, encode_cursor(*key(page[-1]))


def encode_cursor(*key: Any) -> str:
    """Return a sort key as an opaque text."""
    parts = [part.isoformat() if isinstance(part, datetime) else part for part in key]
    return base64.urlsafe_b64encode(orjson.dumps(parts, default=str)).rstrip(b"=").decode()


def decode_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """Return the sort key that a cursor stands for; raise `InvalidError` if it is none of ours."""
    try:
        parts = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        key = tuple(_read(part, kind) for part, kind in zip(parts, types, strict=True))
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise InvalidError("This is not a cursor of ours.", pointer="/cursor") from None
    return key


def _read(part: Any, kind: type) -> Any:
    if isinstance(part, bool) or not isinstance(part, int if kind is int else str):
        raise TypeError("not what a cursor of this list holds")
    value = _READERS[kind](part)
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("a time without an offset")
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("PostgreSQL has no such text")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("PostgreSQL has no such number")
    return value
