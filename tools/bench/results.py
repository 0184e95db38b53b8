"""What a round of a scenario found, and all rounds together in the form in which they are written as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tools.bench.figures import Curve, spread

LOAD_SHARE = "load generator, of one core"
Better = Literal["more", "less", ""]


@dataclass(frozen=True, slots=True)
class Measure:
    """One value with its unit, and which direction is good (none where it is only told)."""

    value: float
    unit: str
    better: Better = ""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one scenario. Plots are by their title; of several rounds the last one's are drawn."""

    measures: Mapping[str, Measure]
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    bars: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def gather(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return a scenario's rounds as one object: of each measure its values, median and spread."""
    last = rounds[-1]
    return {
        "measures": {name: _gather_measure([one.measures[name] for one in rounds]) for name in last.measures},
        "curves": {title: dict(lines) for title, lines in last.curves.items()},
        "bars": {title: dict(bars) for title, bars in last.bars.items()},
    }


def _gather_measure(measures: Sequence[Measure]) -> dict[str, Any]:
    values = [measure.value for measure in measures]
    found = asdict(spread(values))
    return {"unit": measures[-1].unit, "better": measures[-1].better, **found, "values": values}


def median_of(results: Mapping[str, Any], scenario: str, measure: str) -> float | None:
    """Return the median of a measure, or None where it was not measured."""
    found = results["scenarios"].get(scenario, {}).get("measures", {}).get(measure)
    return None if found is None else float(found["median"])
