"""What a code says to the edge: one cheap, read-only picture, as `storefront.py` has of the tiers.

It is a picture, not a promise: how much of a code is left, the tiers' consumers decide (`code_counters.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.models import Code
from domain.rules.codes import Limits
from domain.rules.pricing import Discount
from domain.storefront import Offer


@dataclass(frozen=True, slots=True)
class CodeTerms:
    """A code as a buyer meets it."""

    id: UUID
    code: str
    discount: Discount | None
    opens_hidden: bool
    tier_ids: Sequence[UUID]
    limits: Limits
    valid_from: datetime | None
    valid_until: datetime | None
    is_active: bool
    uses: int
    tickets: int

    def is_for(self, offer: Offer) -> bool:
        """Tell whether the tier is one that the code names, or of those that everybody sees where it names none."""
        return offer.tier_id in self.tier_ids if self.tier_ids else not offer.is_hidden

    def opens(self, offer: Offer) -> bool:
        """Tell whether who has the code may know of the tier."""
        return not offer.is_hidden or (self.opens_hidden and self.is_for(offer))


def may_know(offer: Offer, code: CodeTerms | None) -> bool:
    """Tell whether anybody who has this code, or none, may know of a tier, and buy it."""
    return offer.is_public or (offer.has_public_event and code is not None and code.opens(offer))


def read_terms(session: Session, event_id: UUID, code: str) -> CodeTerms | None:
    """Return the terms of an event's code as it is kept; None where there is none."""
    row = session.scalar(select(Code).where(Code.event_id == event_id, Code.code == code))
    if row is None:
        return None
    is_discount = row.discount_bps is not None or row.discount_amount is not None
    return CodeTerms(
        id=row.id,
        code=row.code,
        discount=Discount(row.discount_bps, row.discount_amount) if is_discount else None,
        opens_hidden=row.opens_hidden,
        tier_ids=tuple(row.tier_ids),
        limits=Limits(row.max_uses, row.max_tickets, row.max_per_person),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        is_active=row.is_active,
        uses=row.uses,
        tickets=row.tickets,
    )
