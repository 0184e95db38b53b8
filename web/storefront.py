"""A picture of what is on sale, kept for a moment: a rush asks the same question thousands of times a second."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from cachetools import TTLCache
from sqlalchemy.orm import Session

from domain.code_terms import CodeTerms, read_terms
from domain.line import COUNTED
from domain.storefront import Offer, read_offers
from web.groups import Groups
from web.lines import Lines

KEPT_SECONDS = 0.25
"""So old may a price or a sold-out answer be; the tier's consumer decides by the rows."""
TIERS_KEPT = 10_000
CODES_KEPT = 10_000


class Storefront:
    """Offers of tiers, and terms of codes, shared by the threads of a process."""

    def __init__(self, open_session: Callable[[], Session], lines: Lines) -> None:
        self._open_session = open_session
        self._lines = lines
        self._kept: TTLCache[UUID, Offer] = TTLCache(TIERS_KEPT, KEPT_SECONDS)
        self._kept_codes: TTLCache[tuple[UUID, str], CodeTerms | None] = TTLCache(CODES_KEPT, KEPT_SECONDS)
        self._lock = threading.Lock()
        self._groups: Groups[Collection[UUID], Mapping[UUID, Offer]] = Groups(self._read)

    def look(self, tier_ids: Collection[UUID]) -> Mapping[UUID, Offer]:
        """Return the offers of these tiers; those that are unknown are left out."""
        found = self._find(tier_ids)
        return found if len(found) == len(tier_ids) else self._groups.ask(tier_ids)

    def find_code(self, event_id: UUID, code: str) -> CodeTerms | None:
        """Return what an event's code says; None where it has no such code."""
        key = event_id, code
        with self._lock:
            if key in self._kept_codes:
                return self._kept_codes.get(key)
        with self._open_session() as session:
            found = read_terms(session, event_id, code)
        with self._lock:
            self._kept_codes[key] = found
        return found

    def _find(self, tier_ids: Collection[UUID]) -> dict[UUID, Offer]:
        with self._lock:
            return {tier_id: offer for tier_id in tier_ids if (offer := self._kept.get(tier_id)) is not None}

    def _read(self, asked: Sequence[Collection[UUID]]) -> Sequence[Mapping[UUID, Offer]]:
        """Read for all who ask at once what the group before them has not just read."""
        wanted = {tier_id for tier_ids in asked for tier_id in tier_ids}
        offers = self._find(wanted)
        if missing := wanted - offers.keys():
            with self._open_session() as session:
                found = read_offers(session, missing)
                read = {tier_id: self._with_line(session, offer) for tier_id, offer in found.items()}
            with self._lock:
                self._kept.update(read)
            offers |= read
        return [{tier_id: offers[tier_id] for tier_id in tier_ids if tier_id in offers} for tier_ids in asked]

    def _with_line(self, session: Session, offer: Offer) -> Offer:
        """Count a line that is too long for a picture in the kept one, as those who poll do."""
        if offer.line.orders < COUNTED:
            return offer
        line = self._lines.count_settled(session, offer.tier_id, offer.decided_until, offer.withdrawn)
        return replace(offer, line=line if line.orders > offer.line.orders else offer.line)
