"""Embedded servers for a while: what tests and checks use.

The long-lived stack has a supervisor instead, which also starts again what dies.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.stack.leash import Leash, end
from tools.stack.ports import Port
from tools.stack.postgres import Postgres, environment, new_passwords
from tools.stack.valkey import Valkey

START_SECONDS = 30.0


class EmbeddedServers:
    """A PostgreSQL and a Valkey that keep nothing: their addresses are known at once, each starts when asked for."""

    def __init__(self, passwords: Mapping[str, str] | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ticket-vendor-"))
        # PostgreSQL may have to run as another user than root, who must get through here.
        self._folder.chmod(0o711)
        self._ports = {"postgres": Port(0), "valkey": Port(0)}
        self._closing = ExitStack()
        self._closing.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._started: set[str] = set()
        self.postgres = Postgres(
            self._folder / "postgres", self._ports["postgres"].number, passwords or new_passwords(), durable=False
        )
        self.valkey = Valkey(self._folder / "valkey", self._ports["valkey"].number, "local", durable=False)

    def start_postgres(self) -> Postgres:
        """Start PostgreSQL unless it runs; raise `RuntimeError` with its log if it does not come up."""
        self._start(self.postgres, environment())
        return self.postgres

    def start_valkey(self) -> Valkey:
        """Start Valkey unless it runs; raise `RuntimeError` with its log if it does not come up."""
        self._start(self.valkey, dict(os.environ))
        return self.valkey

    def close(self) -> None:
        """Stop what runs and remove its data."""
        for port in self._ports.values():
            port.release()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, server: Postgres | Valkey, variables: dict[str, str]) -> None:
        if server.name in self._started:
            return
        self._started.add(server.name)
        server.prepare()
        log = self._folder / f"{server.name}.log"
        leash = Leash()
        self._closing.callback(leash.close)
        self._ports[server.name].release()
        with log.open("wb") as output:
            process = subprocess.Popen(
                server.command(),
                cwd="/",
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        leash.hold(process.pid, server.stop_signal)
        self._closing.callback(_stop, server, process, leash)
        _wait_until_ready(server, process, log)


def _stop(server: Postgres | Valkey, process: subprocess.Popen[bytes], leash: Leash) -> None:
    process.send_signal(server.stop_signal)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        end([(process.pid, server.stop_signal)], 0)
        process.wait()
    leash.release(process.pid)


def _wait_until_ready(server: Postgres | Valkey, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{server.name} did not start:\n{log.read_text()}")
        time.sleep(0.02)
