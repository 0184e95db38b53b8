"""Plain arithmetic on measured values: percentiles, medians with their spread, and curves over time."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

Curve = list[tuple[float, float]]

SHARES = (0, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 100)
"""The percentiles of a curve; most of them where it bends."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, and how far they lie apart."""

    median: float
    lowest: float
    highest: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median, the lowest and the highest; raise `ValueError` if there is no value."""
    if not values:
        raise ValueError("nothing was measured")
    return Spread(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` percent of all values do not exceed (nearest rank).

    Raises `ValueError` if there is no value.
    """
    if not values:
        raise ValueError("nothing was measured")
    rank = math.ceil(share / 100 * len(values))
    return sorted(values)[max(rank, 1) - 1]


def percentile_curve(values: Sequence[float]) -> Curve:
    """Return the values at the usual percentiles; nothing if there is no value."""
    ordered = sorted(values)
    return [(share, percentile(ordered, share)) for share in SHARES] if ordered else []


def rate_curve(times: Sequence[float], *, begins: float, ends: float, step: float) -> Curve:
    """Return how many of these moments fell into each step, per second, over the seconds since `begins`."""
    ordered = sorted(times)
    return [
        (edge - begins, (bisect_right(ordered, edge) - bisect_right(ordered, edge - step)) / step)
        for edge in _edges(begins, ends, step)
    ]


def depth_curve(arrivals: Sequence[float], departures: Sequence[float], *, begins: float, step: float) -> Curve:
    """Return how many had arrived and not departed at each step, until the last has gone."""
    came, went = sorted(arrivals), sorted(departures)
    ends = max([begins, *came[-1:], *went[-1:]])
    edges = [begins, *_edges(begins, ends, step)]
    return [(edge - begins, bisect_right(came, edge) - bisect_right(went, edge)) for edge in edges]


def _edges(begins: float, ends: float, step: float) -> list[float]:
    return [begins + step * (number + 1) for number in range(max(math.ceil((ends - begins) / step), 0))]
