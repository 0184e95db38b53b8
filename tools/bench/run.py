"""What `./dev bench` does: the system on servers of its own, every scenario in rounds, and a report.

What is measured stands in `scenarios.py`; how to read it in docs/performance.md.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from tools.bench import processes
from tools.bench.comparison import ComparisonError, compare
from tools.bench.facts import read_facts
from tools.bench.floor import FloorError
from tools.bench.ground import Ground, GroundError, Options, measured_parts, prepare_environment
from tools.bench.load import LoadError
from tools.bench.patience import ImpatienceError
from tools.bench.report import RAW, goal_lines, write_report
from tools.bench.results import Round, gather
from tools.bench.rush import warm_up
from tools.bench.scenarios import SCENARIOS
from tools.bench.svg import shown
from tools.bench.verdicts import WrongSaleError
from tools.stack.environment import ROOT
from tools.stack.folder import FolderError, claim
from tools.stack.leash import Leash
from tools.stack.parts import local_parts
from tools.stack.plan import make_plan
from tools.stack.postgres import PostgresError
from tools.stack.schema import Schema
from tools.stack.supervisor import PartError, Supervisor
from tools.stack.valkey import ValkeyError

OLD_ORDERS = 20_000
HOME = ROOT / ".local" / "bench"
TROUBLE = (
    *(GroundError, FolderError, PostgresError, ValkeyError, PartError, ComparisonError, OSError),
    *(WrongSaleError, LoadError, ImpatienceError, FloorError, SQLAlchemyError),
)


def say(sentence: str) -> None:
    """Tell the person."""
    print(sentence, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Measure, report and compare; return the exit code."""
    chosen = _parse(arguments)
    try:
        old = _read(chosen.compare) if chosen.compare else None
        results = _measure(chosen.scenarios or list(SCENARIOS), chosen)
        _tell(results, chosen.out)
        if old is not None:
            say("\n" + "\n".join(compare(old, results)))
    except WrongSaleError as error:
        say(f"\n./dev bench: the system sold wrongly, so no figure counts: {error}")
        return 1
    except TROUBLE as error:
        say(f"\n./dev bench: {error}")
        return 1
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure Ticket Vendor on this machine.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F", help="how much of each load (1)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each scenario runs (3)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31), metavar="N", help="of all chance")
    parser.add_argument("--out", type=Path, default=HOME / "report", metavar="DIR", help=".local/bench/report")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="print ratios to an earlier report")
    parser.add_argument("--data", type=Path, default=HOME / "state", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenarios if name not in SCENARIOS]:
        parser.error(f"there is no scenario {unknown[0]!r}: choose from {', '.join(SCENARIOS)}")
    if not 0 < options.scale <= 1 or options.rounds < 1:
        parser.error("--scale is above 0 and at most 1, and --rounds at least 1")
    return options


def _read(report: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(report.read_text())
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{report} is no report to compare with: {error}") from None
    return found


def _measure(names: Sequence[str], chosen: argparse.Namespace) -> dict[str, Any]:
    prepare_environment()
    folder = chosen.data.resolve()
    options = Options(chosen.scale, chosen.rounds, chosen.seed)
    # Its own folder, empty at each start: old rows would change what is measured.
    with claim(folder, fresh=True) as lock:
        return asyncio.run(_run(folder, lock.fileno(), names, options))


async def _run(folder: Path, lock: int, names: Sequence[str], options: Options) -> dict[str, Any]:
    load = os.getloadavg()[0]
    plan = make_plan(folder, 0, say)
    schema = Schema(plan.postgres, plan.folder)
    parts = measured_parts(local_parts(plan, schema))
    supervisor = Supervisor(parts, plan.folder / "logs", ROOT, Leash((lock,)), say)
    say(f"starting what is measured; seed {options.seed}")
    try:
        await supervisor.start()
        ground = Ground(plan, options, supervisor.pids)
        facts = read_facts(ground.database, load)
        work = asyncio.create_task(asyncio.to_thread(_measure_all, ground, names))
        await supervisor.unless_failing(work)
        return {"facts": facts, **await work}
    finally:
        await supervisor.stop()


def _measure_all(ground: Ground, names: Sequence[str]) -> dict[str, Any]:
    """Run every scenario once per round, so that a drift of the machine meets all alike."""
    began, options = time.monotonic(), ground.options
    if not processes.HERE:
        say(processes.WHY_NOT)
    ground.market.settle(options.count(OLD_ORDERS))
    warm_up(ground, Random(options.seed))  # noqa: S311 to be repeated, not to be secret
    rounds: dict[str, list[Round]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            started = time.monotonic()
            random = Random(f"{options.seed} {number} {name}")  # noqa: S311
            rounds[name].append(SCENARIOS[name].run(ground, random))
            say(f"  round {number + 1} {name:<11} {time.monotonic() - started:5.1f} s   {_headline(rounds[name][-1])}")
    return {
        "options": {
            "scale": options.scale,
            "rounds": options.rounds,
            "seed": options.seed,
            "seconds": round(time.monotonic() - began, 1),
        },
        "scenarios": {name: gather(found) for name, found in rounds.items()},
    }


def _headline(found: Round) -> str:
    first = next(iter(found.measures.items()))
    return f"{first[0]}: {shown(first[1].value)} {first[1].unit}"


def _tell(results: Mapping[str, Any], out: Path) -> None:
    page = write_report(results, out, {name: scenario.title for name, scenario in SCENARIOS.items()})
    say("")
    for name, value, verdict in goal_lines(results):
        say(f"  {name:<40} {value:>12}   {verdict}")
    say(f"\nreport: {page} (with {RAW} and plots beside it)")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
