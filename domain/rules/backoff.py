"""How long to wait before something is tried again: doubling, bounded, and spread so that nobody comes together."""

from datetime import timedelta


def backoff(attempt: int, *, first: timedelta, longest: timedelta, jitter: float) -> timedelta:
    """Return the wait after the `attempt`-th failure (counted from 1).

    `jitter`, a random number of 0 to 1, takes up to half of it away, so that what failed together does not come
    back together (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, "equal jitter").
    """
    # Bounded before it is multiplied: 2 to the power of 10,000 seconds is no timedelta.
    wait = min(first * (1 << min(attempt - 1, 32)), longest)
    return wait * (0.5 + jitter / 2)
