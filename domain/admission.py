"""What the edge refuses at once, since it could not be served, or since too many wait already.

It judges by a recent picture of the tiers (`domain/storefront.py`); in doubt it lets in, and the tier's consumer
decides.
"""

from collections.abc import Sequence
from datetime import datetime

from domain.code_terms import CodeTerms
from domain.errors import BusyError, ConflictError, InvalidError, SoldOutError, TooManyWaitingError
from domain.rules.admission import AdmissionLimits, is_beyond_stock, seconds_until_shorter
from domain.rules.states import EventStatus
from domain.storefront import Offer


def check_sale(offer: Offer, now: datetime, pointer: str) -> None:
    """Raise `ConflictError` unless the tier takes orders at this moment."""
    if offer.event_status is EventStatus.CANCELLED:
        raise ConflictError("This event was cancelled.", code="event-cancelled", pointer=pointer)
    if offer.sale_starts_at is not None and now < offer.sale_starts_at:
        raise ConflictError(
            f"{offer.name} is on sale from {offer.sale_starts_at.isoformat()}.", code="sale-not-open", pointer=pointer
        )
    if offer.is_draining and offer.is_open(now):
        raise ConflictError(
            f"{offer.name} takes no new orders for the time being; those in line are served. Look at its availability.",
            code="sale-draining",
            pointer=pointer,
        )
    if not offer.is_on_sale(now):
        raise ConflictError(f"The sale of {offer.name} is closed.", code="sale-closed", pointer=pointer)


def check_quantity(offer: Offer, quantity: int, pointer: str) -> None:
    """Raise `ConflictError` for more or fewer than one may buy, `SoldOutError` for more than is left."""
    most = min(offer.max_per_order, offer.max_per_person or offer.max_per_order)
    if not offer.min_per_order <= quantity <= most:
        raise ConflictError(
            f"An order of {offer.name} has {offer.min_per_order} to {most} tickets.",
            code="limit-exceeded",
            pointer=f"{pointer}/quantity",
        )
    if offer.available < quantity:
        raise SoldOutError(
            f"{offer.name} is sold out." if offer.is_sold_out else f"Only {offer.available} of {offer.name} are left.",
            event_id=offer.event_id,
            pointer=f"{pointer}/quantity",
        )


def check_line(offer: Offer, limits: AdmissionLimits, pointer: str) -> None:
    """Raise `SoldOutError` if those who wait want what is free many times over, `BusyError` if they are too many."""
    if is_beyond_stock(offer.free, offer.line.quantity, limits):
        raise SoldOutError(
            f"{offer.name} is as good as sold out: {offer.free} are left, those in line want {offer.line.quantity}.",
            event_id=offer.event_id,
            pointer=f"{pointer}/quantity",
        )
    if offer.line.orders >= limits.line_limit:
        raise BusyError(
            f"So many wait for {offer.name} that nobody else is let in at this moment.",
            retry_after=seconds_until_shorter(offer.line.orders, _rate(offer)),
        )


def require_valid(code: CodeTerms | None, now: datetime) -> CodeTerms:
    """Return a code that may be used at this moment.

    Raises `InvalidError` if there is no such code (any more), `ConflictError` outside of its time.
    """
    if code is None or not code.is_active:
        raise InvalidError("This event has no such code.", code="code-invalid", pointer="/code")
    if code.valid_from is not None and now < code.valid_from:
        raise ConflictError(
            f"This code is valid from {code.valid_from.isoformat()}.", code="code-not-valid-yet", pointer="/code"
        )
    if code.valid_until is not None and code.valid_until <= now:
        raise ConflictError("This code has expired.", code="code-expired", pointer="/code")
    return code


def check_code_limits(code: CodeTerms, tickets: int) -> None:
    """Raise `ConflictError` if the code is for none of an order's tickets, or for fewer of them."""
    limits = code.limits
    if tickets == 0:
        raise ConflictError("This code is not for these tiers.", code="code-not-applicable", pointer="/code")
    if limits.max_per_person is not None and tickets > limits.max_per_person:
        raise ConflictError(
            f"One person may buy {limits.max_per_person} tickets with this code.",
            code="limit-exceeded",
            pointer="/code",
        )
    if limits.max_uses is not None and code.uses >= limits.max_uses:
        raise ConflictError("This code has been used up.", code="code-exhausted", pointer="/code")
    if limits.max_tickets is not None and code.tickets + tickets > limits.max_tickets:
        left = limits.max_tickets - code.tickets
        raise ConflictError(f"This code has {left} tickets left.", code="code-exhausted", pointer="/code")


def refuse_too_many(offers: Sequence[Offer], limits: AdmissionLimits) -> TooManyWaitingError:
    """Return the refusal of a person who has too many undecided orders for these tiers' event already."""
    return TooManyWaitingError(
        f"You have {limits.waiting_orders_per_person} orders in line for this event; wait until one is decided.",
        retry_after=max(offer.line.orders / rate if (rate := _rate(offer)) else _UNKNOWN_SECONDS for offer in offers),
    )


_UNKNOWN_SECONDS = 5.0


def _rate(offer: Offer) -> float | None:
    return None if offer.is_paused else offer.service_rate
