"""The leash: ends what a process has started, even when that process dies by SIGKILL.

A tiny companion process holds a pipe from its owner and the list of the process groups that the owner started.
When the pipe closes it ends them. On Linux `tether` makes the kernel do the same a second time. This file is also
run as a script, so it needs nothing but the standard library.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 3.0


def tether(command: list[str], stop_signal: signal.Signals = signal.SIGTERM) -> list[str]:
    """Return the command so that Linux sends it `stop_signal` when its parent dies; elsewhere return it as it is.

    The parent is the *thread* that starts it (prctl(2), PR_SET_PDEATHSIG): start children from the main thread.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), *command] if setpriv else command


class Leash:
    """The owner's side. Children must lead a process group of their own (`start_new_session=True`).

    The companion keeps the files of `keep_open` open, such as a lock that should last until everything has ended.
    """

    def __init__(self, keep_open: tuple[int, ...] = ()) -> None:
        self._keep_open = keep_open
        self._held: dict[int, signal.Signals] = {}
        self._companion = self._start()

    def hold(self, group: int, stop_signal: signal.Signals = signal.SIGTERM) -> None:
        """End this process group when the owner dies: `stop_signal` first, SIGKILL for what is left."""
        self._held[group] = stop_signal
        self._tell(f"+{group} {int(stop_signal)}")

    def release(self, group: int) -> None:
        """Forget a process group that has ended."""
        if self._held.pop(group, None) is not None:
            self._tell(f"-{group}")

    def keep(self) -> None:
        """Start the companion again if somebody killed it."""
        if self._companion.poll() is not None:
            self._companion = self._start()
            for group, stop_signal in self._held.items():
                self._tell(f"+{group} {int(stop_signal)}")

    def close(self) -> None:
        """End whatever is still held, and the companion."""
        if self._companion.stdin is not None:
            with suppress(BrokenPipeError):
                self._companion.stdin.close()
        self._companion.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A signal to the owner's group must not reach the companion.
            start_new_session=True,
            pass_fds=self._keep_open,
        )

    def _tell(self, line: str) -> None:
        assert self._companion.stdin is not None
        with suppress(BrokenPipeError):
            self._companion.stdin.write(line.encode() + b"\n")
            self._companion.stdin.flush()


def end(groups: Iterable[tuple[int, signal.Signals]], patience_seconds: float = PATIENCE_SECONDS) -> None:
    """End process groups: each by its own signal, and with SIGKILL whatever is left after the patience."""
    left = {group for group, stop_signal in groups if _signal(group, stop_signal)}
    deadline = time.monotonic() + patience_seconds
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left &= _living_groups(left)
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _living_groups(groups: set[int]) -> set[int]:
    """Return the groups with a member that still runs; the dead that nobody has buried do not count on Linux."""
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():
        return {group for group in groups if _signal(group, 0)}
    living = set()
    for stat in proc.glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name, which may hold anything: state, parent, group (proc_pid_stat(5)).
            state, _, group, *_ = stat.read_text().rpartition(")")[2].split()
            if state not in {"Z", "X"}:
                living.add(int(group))
    return living


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    held: dict[int, signal.Signals] = {}
    for line in sys.stdin:
        group, _, stop_signal = line[1:].partition(" ")
        if line.startswith("+"):
            held[int(group)] = signal.Signals(int(stop_signal))
        else:
            held.pop(int(group), None)
    end(held.items())


if __name__ == "__main__":
    _main()
