"""A purchase as it reaches the edge: what is wanted, by whom, and what it costs by a recent picture of the sale.

How it becomes an order is in `orders.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import admission
from domain.code_terms import CodeTerms, may_know
from domain.errors import ConflictError, InvalidError
from domain.rules.admission import AdmissionLimits
from domain.rules.money import MAXIMUM_CHARGE
from domain.rules.pricing import Line, add_up, price_line
from domain.storefront import Offer

Offers = Mapping[UUID, Offer]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a purchase wants of one tier."""

    tier_id: UUID
    quantity: int
    attendees: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Purchase:
    """A request to buy, with the client's idempotency key and the fingerprint of what it stands for."""

    buyer_id: UUID
    event_id: UUID
    wishes: Sequence[Wish]
    idempotency_key: str
    fingerprint: str
    request_id: str | None = None
    billing_name: str | None = None
    billing_email: str | None = None
    billing_address: Mapping[str, str] | None = None
    code: str | None = None
    """As it is kept (`rules.codes.spell`)."""


@dataclass(eq=False, frozen=True, slots=True)
class Arrival:
    """A purchase as it reaches the edge: with a recent picture of its tiers, and the time by which it is judged."""

    purchase: Purchase
    offers: Offers
    now: datetime
    code: CodeTerms | None = None
    """A recent picture of the purchase's code, where there is such a code."""

    @property
    def wanted(self) -> Sequence[Offer]:
        """The tiers that it is about, where they are known."""
        return [self.offers[wish.tier_id] for wish in self.purchase.wishes]

    @property
    def key(self) -> tuple[UUID, str]:
        """What tells it from every other purchase."""
        return self.purchase.buyer_id, self.purchase.idempotency_key

    def code_for(self, tier_id: UUID) -> CodeTerms | None:
        """Return the code that is to be applied to a tier."""
        return self.code if self.code is not None and self.code.is_for(self.offers[tier_id]) else None


def price(arrival: Arrival, limits: AdmissionLimits) -> list[Line]:
    """Return what each of a purchase's wishes costs, if the edge cannot tell already that it will not be served.

    Raises what the checks of `domain/admission.py` raise, and `InvalidError` for a tier that the buyer may not know.
    """
    purchase, lines = arrival.purchase, []
    if purchase.code is not None:
        admission.require_valid(arrival.code, arrival.now)
    for index, wish in enumerate(purchase.wishes):
        pointer = f"/items/{index}"
        offer = arrival.offers.get(wish.tier_id)
        if offer is None or offer.event_id != purchase.event_id or not may_know(offer, arrival.code):
            raise InvalidError("This event has no such tier.", pointer=f"{pointer}/tier_id")
        admission.check_sale(offer, arrival.now, pointer)
        admission.check_quantity(offer, wish.quantity, pointer)
        admission.check_line(offer, limits, pointer)
        code = arrival.code_for(wish.tier_id)
        lines.append(price_line(offer.unit_price, wish.quantity, offer.terms, code.discount if code else None))
    if arrival.code is not None:
        covered = [wish.quantity for wish in purchase.wishes if arrival.code_for(wish.tier_id)]
        admission.check_code_limits(arrival.code, sum(covered))
    if add_up(lines).total > MAXIMUM_CHARGE:
        raise ConflictError("This costs more than one payment can be; buy fewer at once.", code="limit-exceeded")
    return lines
