"""A picture of what is on sale, kept for a moment: a rush asks the same question thousands of times a second."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from uuid import UUID

from cachetools import TTLCache
from sqlalchemy.orm import Session, sessionmaker

from domain.line import COUNTED
from domain.storefront import Offer, read_offers
from web.lines import Lines

KEPT_SECONDS = 0.25
"""So old may a price or a sold-out answer be; the tier's consumer decides by the rows."""
TIERS_KEPT = 10_000


class Storefront:
    """Offers of tiers, shared by the threads of a process."""

    def __init__(self, sessions: sessionmaker[Session], lines: Lines) -> None:
        self._sessions = sessions
        self._lines = lines
        self._kept: TTLCache[UUID, Offer] = TTLCache(TIERS_KEPT, KEPT_SECONDS)
        self._lock = threading.Lock()

    def look(self, tier_ids: Collection[UUID]) -> Mapping[UUID, Offer]:
        """Return the offers of these tiers; those that are unknown are left out."""
        with self._lock:
            found = {tier_id: offer for tier_id in tier_ids if (offer := self._kept.get(tier_id)) is not None}
        missing = [tier_id for tier_id in tier_ids if tier_id not in found]
        if missing:
            with self._sessions() as session:
                offers = read_offers(session, missing)
                read = {tier_id: self._with_line(session, offer) for tier_id, offer in offers.items()}
            with self._lock:
                self._kept.update(read)
            found |= read
        return found

    def _with_line(self, session: Session, offer: Offer) -> Offer:
        """Count a line that is too long for a picture in the kept one, as those who poll do."""
        if offer.line.orders < COUNTED:
            return offer
        line = self._lines.count_settled(session, offer.tier_id, offer.decided_until, offer.withdrawn)
        return replace(offer, line=line if line.orders > offer.line.orders else offer.line)
