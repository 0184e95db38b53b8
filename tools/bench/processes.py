"""What each part's processes have used of the CPU and of memory, as the kernel counts it (proc_pid_stat(5))."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
HERE = sys.platform == "linux"
WHY_NOT = "CPU and memory per process are read from /proc, which only Linux has: they are left out."


@dataclass(frozen=True, slots=True)
class Usage:
    """One part with all its processes: CPU seconds so far, and the memory of its largest process."""

    cpu_seconds: float
    largest_bytes: int
    processes: int


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    ticks: int
    pages: int


def read_usage(roots: Mapping[str, int]) -> dict[str, Usage]:
    """Return what each part has used, given the process that stands at its top; nothing where there is no /proc.

    Children that have ended count through the parent that buried them.
    """
    if not HERE:
        return {}
    processes = _read_all()
    return {name: _sum_up(_family(processes, pid)) for name, pid in roots.items()}


def cpu_between(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """Return the CPU seconds that each part has used between two readings."""
    return {name: after[name].cpu_seconds - usage.cpu_seconds for name, usage in before.items() if name in after}


def _read_all() -> list[_Process]:
    found = []
    for stat in PROC.glob("[0-9]*/stat"):
        # It may end while we look.
        with suppress(OSError):
            found.append(_parse(int(stat.parent.name), stat.read_text()))
    return found


def _parse(pid: int, line: str) -> _Process:
    # The name, in parentheses, may hold anything: what counts comes after the last one.
    fields = line.rpartition(")")[2].split()
    # utime, stime, and those of the children that were waited for.
    return _Process(pid, int(fields[1]), sum(int(field) for field in fields[11:15]), int(fields[21]))


def _family(processes: list[_Process], root: int) -> list[_Process]:
    family = [process for process in processes if process.pid == root]
    for member in family:
        family.extend(process for process in processes if process.parent == member.pid)
    return family


def _sum_up(family: list[_Process]) -> Usage:
    ticks_per_second, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    return Usage(
        sum(process.ticks for process in family) / ticks_per_second,
        max((process.pages for process in family), default=0) * page,
        len(family),
    )
