"""The supervisor: starts the parts in their order, starts again what dies, and stops everything.

It knows nothing of what the parts are. It starts them from the main thread only, because their tether belongs to the
thread that starts them.
"""

import asyncio
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tools.stack.leash import Leash
from tools.stack.ports import Port

START_SECONDS = 60.0
STOP_SECONDS = 6.0
QUICK_SECONDS = 10.0
"""A process that lives shorter than this has died quickly."""
QUICK_DEATHS = 5
FIRST_PAUSE_SECONDS = 0.5
TAIL_LINES = 20


@dataclass(frozen=True)
class Part:
    """One process: what runs, what it waits for, and how to see that it serves."""

    name: str
    command: Callable[[], Sequence[str]]
    environment: Mapping[str, str]
    is_ready: Callable[[str], bool]
    """Given what it has logged since it started, tell whether it serves."""
    after: tuple[str, ...] = ()
    port: Port | None = None
    prepare: Callable[[], None] | None = None
    once: bool = False
    """It does its work and ends; being ready means having ended well."""
    is_needed: Callable[[], bool] | None = None
    """Asked when its turn comes; where it is not, those that wait for it go on."""
    stop_signal: signal.Signals = signal.SIGTERM
    first_deaths: int = 0
    """How many deaths before its first readiness are part of its nature (PostgreSQL after a crash)."""


class PartError(Exception):
    """A part cannot be started, or not be kept running; the message ends with its log's last lines."""


@dataclass
class _Running:
    process: Process
    log_offset: int
    began: float = field(default_factory=time.monotonic)


class Supervisor:
    """Keeps parts running in `folder`, held by `leash`. `say` is given each sentence that a person should read."""

    def __init__(
        self, parts: Sequence[Part], logs: Path, folder: Path, leash: Leash, say: Callable[[str], None]
    ) -> None:
        self._parts = {part.name: part for part in parts}
        self._logs = logs
        self._folder = folder
        self._say = say
        self._leash = leash
        self._ready = {part.name: asyncio.Event() for part in parts}
        self._running: dict[str, _Running] = {}
        self._keepers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start every part as soon as those before it serve; return when all do, or raise `PartError`."""
        for part in self._parts.values():
            _rotate(self._log(part))
        self._keepers = {asyncio.create_task(self._keep(part), name=part.name) for part in self._parts.values()}
        everyone = asyncio.gather(*(event.wait() for event in self._ready.values()))
        await self.unless_failing(everyone)

    async def unless_failing(self, work: Awaitable[object]) -> None:
        """Wait for this work while the parts run; raise `PartError` as soon as one of them cannot be kept running."""
        task = asyncio.ensure_future(work)
        waiting = {task, *self._keepers}
        try:
            while not task.done():
                done, waiting = await asyncio.wait(waiting, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                self._leash.keep()
                for keeper in done:
                    keeper.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop(self) -> None:
        """Stop every part, those that others wait for last; what does not stop in time is killed."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        depths: dict[int, list[str]] = {}
        for name in self._running:
            depths.setdefault(self._depth(name), []).append(name)
        for depth in sorted(depths, reverse=True):
            await asyncio.gather(*(self._end(name) for name in depths[depth]))
        self._leash.close()

    def pids(self) -> dict[str, int]:
        """Return the process of each part that runs now."""
        return {name: running.process.pid for name, running in self._running.items()}

    def kill(self) -> None:
        """Kill every part at once."""
        for running in self._running.values():
            _kill_group(running.process.pid)

    def _depth(self, name: str) -> int:
        return 1 + max((self._depth(before) for before in self._parts[name].after), default=0)

    async def _keep(self, part: Part) -> None:
        """Start a part when its turn comes, and again whenever it dies."""
        for name in part.after:
            await self._ready[name].wait()
        if part.is_needed is not None and not await asyncio.to_thread(part.is_needed):
            self._ready[part.name].set()
            return
        deaths = 0
        while True:
            running = await self._launch(part)
            await self._until_ready(part, running)
            code = await running.process.wait()
            self._bury(part)
            if part.once and code == 0:
                self._announce(part, running)
                return
            quick = time.monotonic() - running.began < QUICK_SECONDS
            deaths = deaths + 1 if quick else 1
            self._judge(part, code, deaths)
            pause = FIRST_PAUSE_SECONDS * 2 ** (deaths - 1)
            self._say(f"{part.name} {_ended(code)}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)

    def _judge(self, part: Part, code: int, deaths: int) -> None:
        if not self._ready[part.name].is_set() and deaths > part.first_deaths:
            raise PartError(f"{part.name} could not start: it {_ended(code)}.\n{self._tail(part)}")
        if deaths >= QUICK_DEATHS:
            raise PartError(f"{part.name} died {deaths} times in a row: it {_ended(code)}.\n{self._tail(part)}")

    async def _launch(self, part: Part) -> _Running:
        if part.prepare is not None:
            try:
                await asyncio.to_thread(part.prepare)
            except Exception as error:
                raise PartError(f"{part.name} could not start: {error}") from error
        if part.port is not None:
            part.port.release()
        with self._log(part).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *part.command(),
                cwd=self._folder,
                env=dict(part.environment),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._leash.hold(process.pid, part.stop_signal)
            self._running[part.name] = running = _Running(process, log.tell())
        return running

    async def _until_ready(self, part: Part, running: _Running) -> None:
        """Return when the part serves or is dead; raise `PartError` if it is neither for too long."""
        while running.process.returncode is None and not part.once:
            if await asyncio.to_thread(part.is_ready, self._logged(part, running)):
                self._announce(part, running)
                return
            if time.monotonic() - running.began > START_SECONDS:
                raise PartError(f"{part.name} did not answer within {START_SECONDS:.0f} s.\n{self._tail(part)}")
            await asyncio.sleep(0.1)

    def _announce(self, part: Part, running: _Running) -> None:
        again = "again " if self._ready[part.name].is_set() else ""
        verb = "done" if part.once else "up"
        self._say(f"  {part.name:<16} {again}{verb} in {time.monotonic() - running.began:.2f} s")
        self._ready[part.name].set()

    def _bury(self, part: Part) -> None:
        """Forget a dead process, and end what it left behind in its group."""
        running = self._running.pop(part.name)
        _kill_group(running.process.pid)
        self._leash.release(running.process.pid)

    async def _end(self, name: str) -> None:
        process = self._running[name].process
        with suppress(ProcessLookupError):
            process.send_signal(self._parts[name].stop_signal)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._say(f"{name} does not stop; killing it")
            _kill_group(process.pid)
            await process.wait()
        self._bury(self._parts[name])

    def _log(self, part: Part) -> Path:
        return self._logs / f"{part.name}.log"

    def _logged(self, part: Part, running: _Running) -> str:
        with self._log(part).open("rb") as log:
            log.seek(running.log_offset)
            return log.read().decode(errors="replace")

    def _tail(self, part: Part) -> str:
        lines = self._log(part).read_text(errors="replace").splitlines()[-TAIL_LINES:]
        quoted = "\n".join(f"    {line}" for line in lines) or "    (empty)"
        return f"The last lines of {self._log(part)}:\n{quoted}"


def _ended(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _rotate(log: Path) -> None:
    """Keep the log of the run before this one, and begin a new one."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    log.touch()
