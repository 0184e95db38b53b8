"""Work that nobody waits for, in steps with rests between them, so that the database serves meanwhile those who buy."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

RESTS = 2
"""After a step the database is left alone for so many times as long as it took."""
RESTS_SECONDS = 2.0
"""But no longer in all: a worker that ends waits for its job, and other jobs wait, too."""


class Pace:
    """Rests after each step, until it has rested for so many seconds in all."""

    def __init__(self, rests_seconds: float = RESTS_SECONDS) -> None:
        self._left = rests_seconds

    @contextmanager
    def step(self) -> Iterator[None]:
        """Rest once the block has ended, unless it fails."""
        began = time.monotonic()
        yield
        rest = min(RESTS * (time.monotonic() - began), self._left)
        time.sleep(rest)
        self._left -= rest
