"""The running system as whoever breaks it sees it: its processes, its servers, its clocks and the two stand-ins."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import NullPool, Row, create_engine, text

from tools.faults.client import Client, LostError
from tools.faults.clock import Clocks
from tools.stack.environment import ROOT
from tools.stack.leash import Leash
from tools.stack.plan import Plan

SPARED_SECONDS = 11.0
"""A part that dies again sooner is started later and later by the supervisor, which is not what is rehearsed."""
STRIPE_PAGE = 100


class World:
    """Everything that can be broken, and be asked. Its methods may be called from any thread."""

    def __init__(self, plan: Plan, pids: Callable[[], Mapping[str, int]], leash: Leash, clocks: Clocks) -> None:
        self.plan = plan
        self.url = plan.url("web")
        self.clocks = clocks
        self.ending = threading.Event()
        self.start_seconds = 0.0
        """How long this machine, as busy as it is, takes to start the system; what dies has to start again."""
        self._pids = pids
        self._leash = leash
        self._killed: dict[str, float] = {}
        self._engine = create_engine(plan.postgres.url(), poolclass=NullPool)

    def wait(self, seconds: float) -> None:
        """Let time pass, unless all of it ends."""
        self.ending.wait(seconds)

    def kill(self, part: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill a part, which the supervisor starts again."""
        self.wait(self._killed.get(part, -SPARED_SECONDS) + SPARED_SECONDS - time.monotonic())
        self._killed[part] = time.monotonic()
        with suppress(KeyError, ProcessLookupError):
            os.kill(self._pids()[part], number)

    def children(self, part: str) -> list[int]:
        """Return the processes that a part has started, where /proc tells."""
        root, found = self._pids().get(part), []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == root:
                    found.append(int(stat.parent.name))
        return sorted(pid for pid in found if "resource_tracker" not in _command(pid))

    @contextmanager
    def stopped(self, part: str) -> Iterator[None]:
        """Stop a part for a while; it wakes as it was."""
        pid = self._pids().get(part)
        with suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                if pid is not None:
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def started(self, *command: str) -> Iterator[None]:
        """Run one Celery worker more for a while, and kill it; the block begins when it is ready."""
        path = self.plan.folder / "logs" / "extra.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *command],
                cwd=ROOT,
                env=dict(self.plan.variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._leash.hold(process.pid)
        try:
            while b" ready." not in path.read_bytes() and process.poll() is None and not self.ending.is_set():
                self.wait(0.1)
            yield
        finally:
            process.kill()
            process.wait()
            self._leash.release(process.pid)

    def wipe_broker(self) -> None:
        """Forget every message and every counter that the broker holds."""
        with suppress(redis.RedisError), redis.from_url(self.plan.valkey.url) as broker:
            broker.flushall()

    def stripe(self, path: str, **fields: Any) -> None:
        """Change the manners of Stripe's stand-in."""
        self._control("stripe", "POST", path, fields)

    def stripe_is_well(self, path: str) -> None:
        """End a kind of trouble at Stripe's stand-in."""
        self._control("stripe", "DELETE", path)

    def stripe_trouble_left(self) -> int:
        """Return how many planned faults have not met their call yet."""
        return len(self._control("stripe", "GET", "faults")["faults"])

    def sendgrid(self, **fields: Any) -> None:
        """Change the manners of SendGrid's stand-in; without any, all is well again."""
        self._control("sendgrid", "POST" if fields else "DELETE", "faults", fields or None)

    def charges(self) -> list[dict[str, Any]]:
        """Return every charge that succeeded, as Stripe itself tells it."""
        client = Client(self.plan.url("stripe"), {"Authorization": f"Bearer {self.plan.secrets.stripe_key}"})
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = client.get(f"/v1/charges?limit={STRIPE_PAGE}{cursor}").body
            found += page["data"]
            if not page["has_more"]:
                client.close()
                return [charge for charge in found if charge["status"] == "succeeded" and charge["captured"]]
            cursor = f"&starting_after={found[-1]['id']}"

    def mails(self, email: str) -> list[dict[str, Any]]:
        """Return what has arrived in somebody's mailbox, newest first."""
        client = Client(self.plan.url("sendgrid"))
        mails: list[dict[str, Any]] = client.get(f"/api/messages?to={email}&limit=100000").body
        client.close()
        return mails

    def rows(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        """Return what the database says."""
        with self._engine.connect() as connection:
            return connection.execute(text(statement), values).all()

    def _control(self, stand_in: str, method: str, path: str, fields: Mapping[str, Any] | None = None) -> Any:
        client = Client(self.plan.url(stand_in))
        try:
            answer = client.send(method, f"/_standin/{path}", fields)
        finally:
            client.close()
        if answer.status >= 400:  # noqa: PLR2004 a refusal
            raise LostError(f"the {stand_in} stand-in refused {path}: {answer.body}")
        return answer.body


def _command(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text()
    except OSError:
        return "resource_tracker"
