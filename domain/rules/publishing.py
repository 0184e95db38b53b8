"""What an event needs before it goes on sale, and what a price needs at any time; every fault is named at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.rules.money import MAXIMUM_CHARGE, charge_step, minimum_charge, written
from domain.rules.pricing import Terms, add_up, covers_fees, price_line


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that stands in the way; `pointer` is a JSON pointer into the event as the API shows it."""

    pointer: str
    detail: str


UNVERIFIED = Fault("/promoter", "Paid tickets are sold by verified promoters only; ask for verification first.")
ACCOUNT_MISSING = Fault(
    "/promoter", "Paid tickets are sold by promoters who can be paid; complete your payout account first."
)


@dataclass(frozen=True, slots=True)
class PricedTier:
    """What is to be sold, and for how much."""

    price: int
    quantity: int
    max_per_order: int
    is_active: bool
    sale_ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that wants to be published, with all its tiers in order."""

    starts_at: datetime
    capacity: int
    currency: str
    terms: Terms
    has_verified_promoter: bool
    can_be_paid: bool
    """Whether the promoter's account is ready, or none is asked for."""
    tiers: Sequence[PricedTier]


def find_faults(draft: Draft, now: datetime) -> list[Fault]:
    """Return everything that keeps the event from being published, in the order of its fields."""
    return list(_find_faults(draft, now))


def find_price_fault(price: int, max_per_order: int, currency: str, terms: Terms) -> str | None:
    """Say what is wrong with a tier's price; free is always right."""
    if price == 0:
        return None
    if price < minimum_charge(currency):
        return f"A ticket costs nothing, or at least {written(minimum_charge(currency), currency)}."
    if price % charge_step(currency):
        return f"A price in {currency} is a multiple of {written(charge_step(currency), currency)}."
    if not covers_fees(price, terms):
        return "The fees that the event absorbs are more than this price."
    if add_up([price_line(price, max_per_order, terms)]).total > MAXIMUM_CHARGE:
        return f"{max_per_order} tickets must not cost more than {written(MAXIMUM_CHARGE, currency)}."
    return None


def _find_faults(draft: Draft, now: datetime) -> Iterator[Fault]:
    if draft.starts_at <= now:
        yield Fault("/starts_at", "The event must start in the future.")
    if sum(tier.quantity for tier in draft.tiers) > draft.capacity:
        yield Fault("/capacity", "The tiers together hold more tickets than the event has places.")
    active = [(index, tier) for index, tier in enumerate(draft.tiers) if tier.is_active]
    if not active:
        yield Fault("/tiers", "The event needs at least one active tier.")
    for index, tier in active:
        if fault := find_price_fault(tier.price, tier.max_per_order, draft.currency, draft.terms):
            yield Fault(f"/tiers/{index}/price", fault)
        if tier.sale_ends_at is not None and tier.sale_ends_at <= now:
            yield Fault(f"/tiers/{index}/sale_ends_at", "The sale of this tier has already ended.")
    if not draft.has_verified_promoter and any(tier.price for _, tier in active):
        yield UNVERIFIED
    if not draft.can_be_paid and any(tier.price for _, tier in active):
        yield ACCOUNT_MISSING
