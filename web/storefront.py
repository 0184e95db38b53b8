"""A picture of what is on sale, kept for a moment: a rush asks the same question thousands of times a second."""

import threading
from collections.abc import Collection, Mapping
from uuid import UUID

from cachetools import TTLCache
from sqlalchemy.orm import Session, sessionmaker

from domain.storefront import Offer, read_offers

KEPT_SECONDS = 0.25
"""So old may a price or a sold-out answer be; the tier's consumer decides by the rows."""
TIERS_KEPT = 10_000


class Storefront:
    """Offers of tiers, shared by the threads of a process."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._kept: TTLCache[UUID, Offer] = TTLCache(TIERS_KEPT, KEPT_SECONDS)
        self._lock = threading.Lock()

    def look(self, tier_ids: Collection[UUID]) -> Mapping[UUID, Offer]:
        """Return the offers of these tiers; those that are unknown are left out."""
        with self._lock:
            found = {tier_id: offer for tier_id in tier_ids if (offer := self._kept.get(tier_id)) is not None}
        missing = [tier_id for tier_id in tier_ids if tier_id not in found]
        if missing:
            with self._sessions() as session:
                read = read_offers(session, missing)
            with self._lock:
                self._kept.update(read)
            found |= read
        return found
