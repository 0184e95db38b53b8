"""What a place in line means for its buyer: when it is reached, and whether stock will be left then."""

import math
from collections.abc import Iterable
from enum import StrEnum, auto

STILL_SECONDS = 15.0
"""Nobody has been decided for so long, though somebody waits: the tier stands still, and no time can be told."""


class Outlook(StrEnum):
    """Whether a waiting order will be served, as far as stock goes; from the best to the worst."""

    COVERED = auto()
    """It is, even if everybody ahead is served."""
    UNLIKELY = auto()
    """Only if others ahead give up, or give back in time."""
    NO = auto()
    """Not even then: too much is sold."""


def outlook(quantity: int, *, free: int, unsold: int, wanted_ahead: int) -> Outlook:
    """Return the outlook of an order for so many tickets.

    `free` is neither sold nor reserved, `unsold` is all that is not sold; those who go first want `wanted_ahead`.
    """
    if quantity > unsold:
        return Outlook.NO
    return Outlook.COVERED if quantity <= free - wanted_ahead else Outlook.UNLIKELY


def worst(outlooks: Iterable[Outlook]) -> Outlook:
    """Return the worst of some outlooks: an order is served by all of its tiers, or not at all."""
    return max(outlooks, key=list(Outlook).index)


def eta_seconds(
    ahead: int, service_rate: float | None, *, is_paused: bool, still_seconds: float | None = None
) -> int | None:
    """Return in how many whole seconds, rounded up, an order with so many ahead is decided, or None if nobody knows.

    `service_rate` is in orders per second. Nobody has been decided for `still_seconds`, though this order waited.
    """
    if not service_rate or is_paused or (still_seconds is not None and still_seconds > STILL_SECONDS):
        return None
    return math.ceil((ahead + 1) / service_rate)
