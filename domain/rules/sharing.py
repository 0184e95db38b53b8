"""How allocators share the tiers: each works out its own part from what all of them can see, and they never talk."""

from collections import Counter
from collections.abc import Mapping, Sequence

Member = int
"""An allocator, by the number of its database session."""


def find_part(owners: Sequence[Member | None], loads: Mapping[Member, int], me: Member) -> int:
    """Return how many of these tiers a member should own: parts are even, and differ by one at most.

    `owners` tells who owns each of the tiers, `loads` how many tiers of any kind each member owns. The larger parts
    fall to those who own most already, so that nothing moves which need not; of equals, to the one with less to do.
    """
    owned = Counter(owners)
    least, larger = divmod(len(owners), len(loads))
    ranked = sorted(loads, key=lambda member: (-owned[member], loads[member], member))
    return least + (ranked.index(me) < larger)
