"""An allocator among others: what it sees of them from look to look, and what it takes and leaves by that.

Who is there, and who holds what, is read from the locks of the database (docs/adr/0017). Nothing here serves a tier.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from domain import tier_work
from domain.rules.sharing import find_part

log = structlog.get_logger()

BUSY_SECONDS = 5.0
"""A tier is busy when its line has not been empty for so long: one that is served as fast as it fills is not."""
CALM_SECONDS = 5.0
"""A tier that has come stays for so long, whatever the shares are."""
ORPHAN_SECONDS = 1.5
"""A tier that nobody has held for so long is taken by whoever sees it: the one whose part it is does not take it."""

SHUNNED_SECONDS = 5.0
"""A tier whose line stood still here is left to the others for so long; where there is nobody it comes back."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a look brought: the tiers that were adopted, and those that somebody else should have."""

    adopted: frozenset[UUID]
    surplus: frozenset[UUID]
    is_settled: bool
    """Whether there is nothing for this allocator to wait for; else it should look again soon."""


class Sharing:
    """One allocator's view of all tiers and allocators."""

    def __init__(self) -> None:
        self._waiting_since: dict[UUID, float] = {}
        self._free_since: dict[UUID, float] = {}
        self._owned_since: dict[UUID, float] = {}
        self._shunned_since: dict[UUID, float] = {}

    def shun(self, tier_ids: Collection[UUID]) -> None:
        """Take none of these tiers for a while."""
        self._shunned_since.update(dict.fromkeys(tier_ids, time.monotonic()))

    def look(
        self, session: Session, *, wanted: frozenset[UUID], waiting: Collection[UUID], owned: frozenset[UUID]
    ) -> Change:
        """Adopt free tiers up to a fair part, and tell which of the owned ones are more than that.

        `waiting` are the tiers that have a line. Busy and idle tiers are shared apart, else all that is sold just now
        might be one allocator's.
        """
        now = time.monotonic()
        seen = tier_work.find_owners(session, wanted)
        free = {tier_id for tier_id, owner in seen.owners.items() if owner is None}
        self._remember(waiting, free, owned, now)
        takeable = free - self._shunned_since.keys()
        busy = wanted & _older(self._waiting_since, now - BUSY_SECONDS)
        adopted: set[UUID] = set()
        surplus: set[UUID] = set()
        missing = 0
        for kind in (busy, wanted - busy):
            change = find_part([seen.owners[tier_id] for tier_id in kind], seen.loads, seen.me) - len(owned & kind)
            came = tier_work.adopt(session, takeable & kind, most=max(change, 0))
            adopted.update(came)
            missing += max(change - len(came), 0)
            surplus.update(self._choose(owned & kind, max(-change, 0), now))
        orphans = takeable & _older(self._free_since, now - ORPHAN_SECONDS) - adopted
        adopted.update(tier_work.adopt(session, orphans, most=len(orphans)))
        for event, tier_ids in (("fence.adopted", adopted), ("fence.passed_on", surplus)):
            if tier_ids:
                log.info(event, tiers=[str(tier_id) for tier_id in tier_ids])
        return Change(frozenset(adopted), frozenset(surplus), not missing and free <= adopted)

    def _remember(self, waiting: Collection[UUID], free: Collection[UUID], owned: frozenset[UUID], now: float) -> None:
        self._waiting_since = _keep_time(self._waiting_since, waiting, now)
        self._free_since = _keep_time(self._free_since, free, now)
        self._owned_since = _keep_time(self._owned_since, owned, now)
        forgiven = _older(self._shunned_since, now - SHUNNED_SECONDS)
        self._shunned_since = _keep_time(self._shunned_since, self._shunned_since.keys() - forgiven, now)

    def _choose(self, tier_ids: frozenset[UUID], count: int, now: float) -> list[UUID]:
        """Return so many of the tiers, those that have been here longest; none of those that have just come."""
        calm = tier_ids & _older(self._owned_since, now - CALM_SECONDS)
        return sorted(calm, key=lambda tier_id: (self._owned_since[tier_id], tier_id))[:count]


def _keep_time(since: dict[UUID, float], tier_ids: Collection[UUID], now: float) -> dict[UUID, float]:
    """Return since when each of the tiers has been so, now that these are."""
    return {tier_id: since.get(tier_id, now) for tier_id in tier_ids}


def _older(since: dict[UUID, float], limit: float) -> set[UUID]:
    return {tier_id for tier_id, began in since.items() if began <= limit}
