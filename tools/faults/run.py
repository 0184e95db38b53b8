"""What `./dev faults` does: the whole system on servers of its own, load, faults in random order, and a verdict.

What breaks stands in `faults.py`, what must hold in `invariants.py`; how to read the report in docs/rehearsal.md.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from tools.faults import report
from tools.faults.clock import Clocks
from tools.faults.load import LoadError
from tools.faults.market import TROUBLE as MARKET_TROUBLE
from tools.faults.rehearsal import Record, Rehearsal
from tools.faults.world import World
from tools.stack.environment import REPLACES, ROOT, given_values
from tools.stack.folder import FolderError, claim
from tools.stack.leash import Leash
from tools.stack.parts import local_parts
from tools.stack.plan import Plan, make_plan
from tools.stack.postgres import PostgresError
from tools.stack.schema import Schema
from tools.stack.supervisor import PartError, Supervisor
from tools.stack.valkey import ValkeyError

HOME = ROOT / ".local" / "faults"
LEFT_OUT = {"flower"}
SETTINGS = {
    "RATE_LIMITS": "off",
    "BCRYPT_ROUNDS": "4",
    "JWT_ACCESS_SECONDS": str(12 * 3600),
    # Clocks run out all the time; the sweeps keep the pace that they have in production.
    "HOLD_SECONDS": "12",
    "HOLD_EXTENSION_SECONDS": "8",
    "HOLD_LIMIT_SECONDS": "60",
    "PARTLY_HELD_SECONDS": "8",
    "APPROVAL_SECONDS": "15",
    "OFFER_SECONDS": "10",
    "EXPIRING_LIMIT_SECONDS": "6",
}
TROUBLE = (FolderError, PostgresError, ValkeyError, PartError, LoadError, SQLAlchemyError, OSError, *MARKET_TROUBLE)


def say(sentence: str) -> None:
    """Tell the person."""
    print(sentence, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Rehearse, and report; return 0 if nothing broke."""
    chosen = _parse(arguments)
    if replaced := sorted(name for name in REPLACES if name in given_values()):
        say(f"./dev faults: it breaks servers of its own: take {', '.join(replaced)} out of the environment and .env.")
        return 1
    os.environ.update(SETTINGS)
    began, folder = time.monotonic(), chosen.data.resolve()
    say(f"seed {chosen.seed}; state and logs are in {folder}")
    try:
        with claim(folder, fresh=True) as lock:
            record = asyncio.run(_run(make_plan(folder, 0, say), Leash((lock.fileno(),)), chosen))
    except TROUBLE as error:
        say(f"\n./dev faults: {type(error).__name__}: {error}\nseed {chosen.seed}")
        return 1
    say("\n" + "\n".join(report.lines(record, (time.monotonic() - began) / 60)))
    return 1 if record.broken else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev faults", description="Break Ticket Vendor in every way it must survive."
    )
    parser.add_argument("--minutes", type=float, default=20.0, metavar="N", help="how long faults strike (20)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31), metavar="S", help="of all chance")
    parser.add_argument("--data", type=Path, default=HOME, metavar="DIR", help="where its state lives (.local/faults)")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error("--minutes is above 0")
    return options


async def _run(plan: Plan, leash: Leash, chosen: argparse.Namespace) -> Record:
    schema, clocks = Schema(plan.postgres, plan.folder), Clocks(plan.folder / "clocks")
    parts = [clocks.give(part) for part in local_parts(plan, schema) if part.name not in LEFT_OUT]
    supervisor = Supervisor(parts, plan.folder / "logs", ROOT, leash, _quietly)
    world = World(plan, supervisor.pids, leash, clocks)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, world.ending.set)
    try:
        began = time.monotonic()
        await supervisor.start()
        world.start_seconds = time.monotonic() - began
        say(f"up in {world.start_seconds:.1f} s, which is added to each promise: the dead have to start again")
        work = asyncio.create_task(asyncio.to_thread(_rehearse, world, chosen.seed, chosen.minutes))
        await supervisor.unless_failing(work)
        return await work
    finally:
        world.ending.set()
        await supervisor.stop()


def _rehearse(world: World, seed: int, minutes: float) -> Record:
    rehearsal = Rehearsal(world, seed, minutes, say)
    rehearsal.play()
    return rehearsal.record


def _quietly(_: str) -> None:
    """Leave out what the supervisor has to say: that parts die is the point."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
