"""Pauses between tries, as SQL: what failed together does not come back together.

Mails draw theirs when they fail (`rules/backoff.py`); a payment keeps no time of its next try, so its chance is drawn
from the row itself, and comes out alike however often the sweep asks.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Double, cast, func
from sqlalchemy.orm import InstrumentedAttribute

SPREAD = 0.25
"""A pause is up to a quarter shorter or longer than it is meant to be."""
_STEPS = 1000


def spread(pause: ColumnElement[timedelta], *lot: InstrumentedAttribute[Any]) -> ColumnElement[timedelta]:
    """Return the pause as drawn by the lot: by what tells rows apart, and one try of a row from the next."""
    drawn = func.hashtextextended(func.concat_ws(":", *lot), 0, type_=BigInteger) % _STEPS
    return pause * (1 + SPREAD * cast(drawn, Double) / _STEPS)
