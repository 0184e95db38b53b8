"""Slow hashes of passwords with bcrypt, in a small pool of their own (port `PasswordHasher`).

bcrypt reads 72 bytes (and `bcrypt` 5 refuses more), yet 64 letters of another script are longer. So a password
is first shortened to 44 ASCII bytes: base64 of HMAC-SHA-256. Its fixed key is no secret; it makes our inputs
differ from the plain SHA-256 hashes in other sites' leaks ("password shucking").
"""

import base64
import hmac
import os
import threading
import unicodedata
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

from domain.errors import BusyError

_PURPOSE = b"ticket-vendor password 1"
Result = TypeVar("Result")


class PasswordHasher:
    """Hashes on `threads` threads with at most `queue` calls waiting, so that log-ins cannot starve purchases.

    bcrypt releases the interpreter's lock, so a storm of log-ins would otherwise take every core.
    """

    def __init__(self, *, rounds: int = 12, threads: int = 2, queue: int = 32) -> None:
        self._rounds = rounds
        self._threads = threads
        self._queue = queue
        self._pool: ThreadPoolExecutor | None = None
        self._forget_pool()
        _forget_after_fork(self)

    def hash(self, password: str) -> str:
        """Return the hash to store (`$2b$…`, 60 characters); raise `BusyError` when the pool is full."""
        digest = _digest(password)
        return self._run(lambda: bcrypt.hashpw(digest, bcrypt.gensalt(self._rounds)).decode("ascii"))

    def verify(self, password: str, password_hash: str) -> bool:
        """Tell whether the password matches; raise `BusyError` when the pool is full.

        A stored value that is no bcrypt hash matches nothing.
        """
        digest = _digest(password)
        return self._run(lambda: _matches(digest, password_hash))

    def close(self) -> None:
        """End the threads once their work is done; a later call starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _run(self, work: Callable[[], Result]) -> Result:
        places = self._places
        if not places.acquire(blocking=False):
            raise BusyError("Too many people are signing in at this moment. Try again in a few seconds.", retry_after=2)
        try:
            return self._open_pool().submit(work).result()
        finally:
            places.release()

    def _open_pool(self) -> ThreadPoolExecutor:
        # Threads do not survive a fork, so the pool is made by the process that uses it, at its first
        # password.
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="bcrypt")
            return self._pool

    def _forget_pool(self) -> None:
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(self._threads + self._queue)
        self._pool = None


def _forget_after_fork(hasher: PasswordHasher) -> None:
    # A child inherits locks that nobody will release and a pool without threads: it starts with fresh ones.
    # The weak reference lets a discarded hasher go, since such hooks cannot be taken back.
    reference = weakref.ref(hasher)

    def forget() -> None:
        survivor = reference()
        if survivor is not None:
            survivor._forget_pool()  # noqa: SLF001 the hook is part of the class

    os.register_at_fork(after_in_child=forget)


def _digest(password: str) -> bytes:
    # NFKC, because keyboards disagree on how to spell the same letter (NIST SP 800-63B section 3.1.1.2).
    normal = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(_PURPOSE, normal, "sha256"))


def _matches(digest: bytes, password_hash: str) -> bool:
    try:
        return bcrypt.checkpw(digest, password_hash.encode("utf-8"))
    except ValueError:
        return False
