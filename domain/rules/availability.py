"""How many tickets of a tier can be promised to somebody who comes now, behind everybody who waits already."""

from collections.abc import Iterable


def sellable(free: int, waiting: Iterable[int], *, skips_large_groups: bool) -> int:
    """Return what is left of `free` seats once the waiting groups, in their order, have taken what fits them.

    A group that does not fit is passed over where the event allows it, and its seats are for sale; otherwise it holds
    the line, and nobody behind it is served.
    """
    for group in waiting:
        if free <= 0:
            break
        if group <= free:
            free -= group
        elif not skips_large_groups:
            return 0
    return max(free, 0)
