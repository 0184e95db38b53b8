"""What each part's processes have used of the CPU and of memory, as the kernel counts it (proc_pid_stat(5))."""

import os
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PROC = Path("/proc")
HERE = sys.platform == "linux"
GLANCE_SECONDS = 0.25
"""A look at all processes costs some two milliseconds."""
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


class Meter:
    """Reads again and again while its block runs, so that it can be told what was used until any moment of it."""

    def __init__(self, read: Callable[[], dict[str, Usage]]) -> None:
        self._read = read
        self._times: list[float] = []
        self._usages: list[dict[str, Usage]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._glance()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._glance()

    @property
    def last(self) -> dict[str, Usage]:
        """The latest reading; nothing where there is no /proc."""
        return self._usages[-1]

    def used(self) -> dict[str, float]:
        """Return the CPU seconds of each part over the whole block."""
        return cpu_between(self._usages[0], self.last)

    def used_until(self, moment: float) -> dict[str, float]:
        """Return the CPU seconds of each part until a moment (seconds since the epoch); linear between two readings."""
        after = min(max(bisect_left(self._times, moment), 1), len(self._times) - 1)
        begins, ends = self._times[after - 1], self._times[after]
        share = min(max((moment - begins) / (ends - begins), 0), 1)
        first = cpu_between(self._usages[0], self._usages[after - 1])
        step = cpu_between(self._usages[after - 1], self._usages[after])
        return {name: seconds + share * step.get(name, 0) for name, seconds in first.items()}

    def _run(self) -> None:
        while not self._ended.wait(GLANCE_SECONDS):
            self._glance()

    def _glance(self) -> None:
        self._usages.append(self._read())
        self._times.append(time.time())


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
