"""The report of a run: one JSON file for `--compare`, one Markdown page for people, and the plots beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.bench.goals import GOALS, Goal
from tools.bench.results import LOAD_SHARE
from tools.bench.svg import bar_chart, line_chart, shown

AXES = {
    "Rate over time": ("seconds", "per second"),
    "Orders waiting": ("seconds", "orders"),
    "Latency by percentile": ("percentile", "ms"),
}
BUSY = 80
"""Above this share of a core, in percent, the load generator may be what limits a figure."""
RAW, PAGE = "report.json", "report.md"


def write_report(results: Mapping[str, Any], folder: Path, titles: Mapping[str, str]) -> Path:
    """Write all files of a report into a folder, and return its page."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    (folder / RAW).write_text(json.dumps(results, indent=1))
    for name, drawing in _plots(results).items():
        (folder / name).write_text(drawing)
    page = folder / PAGE
    page.write_text(render(results, titles))
    return page


def render(results: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Return the page."""
    options = results["options"]
    parts = ["# Speed", _how(options), _facts(results["facts"]), _goals(results)]
    for name, scenario in results["scenarios"].items():
        parts += [f"## {name}", titles[name], _warning(scenario["measures"]), _table(scenario["measures"])]
        parts += [f"![{title}]({_file(name, title)})" for title in (*scenario["curves"], *scenario["bars"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def goal_lines(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return each goal that this run can judge: its name, the value, and the verdict."""
    lines = []
    for goal in GOALS:
        value = goal.value(results)
        if value is not None:
            lines.append((goal.name, f"{shown(value)} {goal.unit}", _verdict(goal, value)))
    return lines


def _verdict(goal: Goal, value: float) -> str:
    relation = "at most" if goal.is_upper_bound else "at least"
    now = f"{relation} {shown(goal.now)} {goal.unit} now: {'met' if goal.is_met(value, goal.now) else 'missed'}"
    if goal.next is None:
        return now
    return f"{now}; {shown(goal.next)} {goal.unit} next: {'met' if goal.is_met(value, goal.next) else 'missed'}"


def _how(options: Mapping[str, Any]) -> str:
    rounds = f"{options['rounds']} round{'s' if options['rounds'] > 1 else ''}"
    reduced = "" if options["scale"] == 1 else " **At this scale the goals do not count.**"
    return (
        f"Written by `./dev bench`: {rounds} at scale {options['scale']:g}, seed {options['seed']},"
        f" {options['seconds']:.0f} s in all. Values are medians over the rounds.{reduced}"
    )


def _facts(facts: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _goals(results: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {value} | {verdict} |" for name, value, verdict in goal_lines(results)]
    return "\n".join(["## Goals", "", "| goal | here | verdict |", "|---|---|---|", *rows]) if rows else ""


def _table(measures: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {_values(found)} | {found['unit']} |" for name, found in measures.items()]
    return "\n".join(["| measure | median | lowest to highest | unit |", "|---|---|---|---|", *rows])


def _values(found: Mapping[str, Any]) -> str:
    return f"{shown(found['median'])} | {shown(found['lowest'])} to {shown(found['highest'])}"


def _warning(measures: Mapping[str, Any]) -> str:
    share = measures.get(LOAD_SHARE, {}).get("highest", 0)
    return (
        f"**The load generator was busy ({share:.0f} % of a core): the system may be faster.**" if share > BUSY else ""
    )


def _plots(results: Mapping[str, Any]) -> dict[str, str]:
    drawn = {}
    for name, scenario in results["scenarios"].items():
        for title, lines in scenario["curves"].items():
            drawn[_file(name, title)] = line_chart(f"{name}: {title}", *AXES[title], lines)
        for title, bars in scenario["bars"].items():
            drawn[_file(name, title)] = bar_chart(f"{name}: {title}", bars)
    return drawn


def _file(scenario: str, title: str) -> str:
    words = title.partition("(")[0].strip().lower().replace(" ", "-")
    return f"{scenario}-{words}.svg"
