"""The goals of the design, and how far this run is from each; what was not measured has no verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.bench.results import median_of

FLOOR = ("floor", "row locks, 32 clients")
SLOW_FLOOR = ("floor", "row locks, 32 clients, flushes 2 ms slower")
RUSH, ACCEPTED = ("rush", "decided per second"), ("rush", "accepted per second")


@dataclass(frozen=True, slots=True)
class Goal:
    """A measure, by itself or over another one, and its bounds: what is wanted now, and next."""

    name: str
    measure: tuple[str, str]
    now: float
    next: float | None = None
    over: tuple[str, str] | None = None
    unit: str = "x"
    is_upper_bound: bool = False

    def value(self, results: Mapping[str, Any]) -> float | None:
        """Return what this run has, or None where something for it was not measured."""
        found = median_of(results, *self.measure)
        if self.over is None or found is None:
            return found
        base = median_of(results, *self.over)
        return found / base if base else None

    def is_met(self, value: float, bound: float) -> bool:
        """Tell whether a value keeps a bound."""
        return value <= bound if self.is_upper_bound else value >= bound


GOALS = (
    Goal("rush, decided ÷ floor", RUSH, 0.5, 1, over=FLOOR),
    Goal("slow disk, decided ÷ floor", ("slow-disk", "decided per second"), 1, over=SLOW_FLOOR),
    Goal("accept p99 at saturation", ("rush", "accept p99"), 250, unit="ms", is_upper_bound=True),
    Goal("accept p99 at half load", ("rush", "accept p99 at half load"), 25, unit="ms", is_upper_bound=True),
    Goal("allocator alone ÷ floor", ("backlog", "decided per second"), 5, 10, over=FLOOR),
    Goal(
        "CPU per order, 100,000 waiting : 1,000",
        ("growth", "CPU per order, 100,000 waiting : 1,000"),
        1.2,
        is_upper_bound=True,
    ),
    Goal(
        "CPU per order, 1,000 tiers busy : 1",
        ("growth", "CPU per order, 1,000 tiers busy : 1"),
        1.2,
        is_upper_bound=True,
    ),
    Goal(
        "CPU per order, 50,000 sold before : none",
        ("growth", "CPU per order, 50,000 sold before : none"),
        1.05,
        is_upper_bound=True,
    ),
    Goal("polls ÷ accepts", ("poll", "answered per second"), 2, over=ACCEPTED),
    Goal("sold-out answers ÷ accepts", ("sold-out", "answered per second"), 2, over=ACCEPTED),
    Goal("CPU per decided order", ("rush", "CPU per decided order"), 3, 2, unit="ms", is_upper_bound=True),
    Goal(
        "memory of the largest process", ("rush", "memory of the largest process"), 150, unit="MB", is_upper_bound=True
    ),
)
