"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 180.0
GLANCE_SECONDS = 0.05
STILL_SECONDS = 0.4


class ImpatienceError(Exception):
    """What was waited for did not come true in time."""


def wait_until(
    is_true: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS, glance: float = GLANCE_SECONDS
) -> None:
    """Return once it is true; raise `ImpatienceError` with what was waited for if that takes too long."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise ImpatienceError(f"after {seconds:.0f} s it is still not true that {what}")
        time.sleep(glance)


def wait_until_still(read: Callable[[], int], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once a number has not changed for a moment; raise `ImpatienceError` if that takes too long."""
    last, since = read(), time.monotonic()

    def is_still() -> bool:
        nonlocal last, since
        now = read()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since >= STILL_SECONDS

    wait_until(is_still, what, seconds)
