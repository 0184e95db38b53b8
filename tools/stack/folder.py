"""The folder in which the local stack keeps its state: one run at a time, and nobody else's files."""

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

KEPT = {"lock", "setup.lock", "installing", "bench", "faults"}
OURS = KEPT | {
    *("postgres", "postgres.new", "valkey", "stripe", "sendgrid", "logs", "metrics", "flower", "demo.json"),
    *("clocks", "secrets.json", "secrets.new", "environment.json", "schema.json", "sendgrid-key.pem", "beat-schedule"),
}
LINGER_SECONDS = 10.0
"""How long the remains of a killed run may take to end."""


class FolderError(Exception):
    """The folder cannot be used; the message says why."""


def claim(folder: Path, *, fresh: bool) -> IO[str]:
    """Take the folder for this run and return the open lock; raise `FolderError` if that cannot be.

    With `fresh`, remove what earlier runs kept there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    foreign = sorted(entry.name for entry in folder.iterdir() if not _is_ours(entry.name))
    if foreign:
        raise FolderError(f"{folder} holds files that are not ours ({', '.join(foreign[:3])}): choose another --data.")
    lock = _lock(folder)
    if fresh:
        for entry in folder.iterdir():
            if entry.name not in KEPT:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return lock


def is_claimed(folder: Path) -> bool:
    """Tell whether a run uses the folder."""
    try:
        lock = (folder / "lock").open("a+")
    except FileNotFoundError:
        return False
    with lock:
        return not _try_lock(lock)


def _is_ours(name: str) -> bool:
    # beat's and Flower's databases add suffixes of their own.
    return name in OURS or name.startswith((".password-", "beat-schedule", "flower"))


def _lock(folder: Path) -> IO[str]:
    lock = (folder / "lock").open("a+")
    deadline = time.monotonic() + LINGER_SECONDS
    while not _try_lock(lock):
        lock.seek(0)
        owner = lock.read().strip()
        if _is_alive(owner) or time.monotonic() > deadline:
            lock.close()
            raise FolderError(f"Another ./dev run (process {owner}) uses {folder}: stop it, or choose another --data.")
        time.sleep(0.1)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _try_lock(lock: IO[str]) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
