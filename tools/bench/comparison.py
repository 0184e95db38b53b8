"""Two runs side by side: ratios of medians, and whether their rounds lie apart."""

from collections.abc import Mapping
from typing import Any

from tools.bench.svg import shown


class ComparisonError(Exception):
    """The other report cannot be compared with; the message says why."""


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for each measure that both runs have; raise `ComparisonError` if there is none."""
    lines = []
    for scenario, found in new["scenarios"].items():
        before = old.get("scenarios", {}).get(scenario, {}).get("measures", {})
        for name, measure in found["measures"].items():
            if name in before and measure["better"]:
                lines.append(f"  {scenario:<12} {name:<52} {_ratio(before[name], measure)}")
    if not lines:
        raise ComparisonError("the two reports have no measure in common")
    scales = old.get("options", {}).get("scale"), new["options"]["scale"]
    warning = [] if scales[0] == scales[1] else [f"  (at scale {scales[0]} then, and {scales[1]} now)"]
    return ["new ÷ old, by medians", *warning, *lines]


def _ratio(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    values = f"{shown(old['median'])} → {shown(new['median'])} {new['unit']}"
    if not old["median"]:
        return values
    return f"{new['median'] / old['median']:6.2f}   {values}   {_verdict(old, new)}"


def _verdict(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if new["lowest"] <= old["highest"] and old["lowest"] <= new["highest"]:
        return "(the rounds overlap)"
    return "better" if (new["median"] > old["median"]) == (new["better"] == "more") else "worse"
