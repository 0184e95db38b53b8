"""What tickets cost: lines, fees and tax in integer minor units, each part rounded half up once per line.

Parts are rounded to what the provider can charge, so that their sum can be charged, too. Which price and terms apply is
decided elsewhere; what comes out of here is frozen in the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_WHOLE_BPS = 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """An event's terms: rates in basis points, the fixed fee in minor units per paid ticket.

    `step` and `minimum` are those of the event's currency, `money.charge_step` and `money.minimum_charge`.
    """

    fee_rate_bps: int
    fee_fixed: int
    absorbs_fees: bool
    tax_rate_bps: int
    step: int = 1
    minimum: int = 1


@dataclass(frozen=True, slots=True)
class Discount:
    """What a code takes off: a share of the line in basis points, or minor units per ticket; one of them is null."""

    bps: int | None = None
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """The price of one item: `fees` are the buyer's, `absorbed_fees` the promoter's; one of them is zero.

    `subtotal` is what is left of `quantity` at `unit_price` after the discount.
    """

    unit_price: int
    quantity: int
    subtotal: int
    fees: int
    absorbed_fees: int
    tax: int

    @property
    def discount(self) -> int:
        """What a code took off."""
        return self.unit_price * self.quantity - self.subtotal


@dataclass(frozen=True, slots=True)
class Totals:
    """The price of an order: sums of rounded parts."""

    subtotal: int
    fees: int
    absorbed_fees: int
    tax: int
    total: int

    @property
    def application_fee(self) -> int:
        """What the platform keeps of the charge, whoever of the two pays it."""
        return self.fees + self.absorbed_fees


def price_line(unit_price: int, quantity: int, terms: Terms, discount: Discount | None = None) -> Line:
    """Price `quantity` tickets of `unit_price` each, less the discount; free tickets carry neither fee nor tax."""
    subtotal = unit_price * quantity
    if discount is not None:
        subtotal = _discounted(subtotal, quantity, terms, discount)
    fixed = terms.fee_fixed * quantity * _WHOLE_BPS
    platform = _rounded(subtotal * terms.fee_rate_bps + fixed, terms.step) if subtotal else 0
    fees, absorbed = (0, platform) if terms.absorbs_fees else (platform, 0)
    # Exclusive tax, on what the buyer pays before it.
    tax = _rounded((subtotal + fees) * terms.tax_rate_bps, terms.step)
    return Line(unit_price, quantity, subtotal, fees, absorbed, tax)


def add_up(lines: Sequence[Line]) -> Totals:
    """Add the lines of an order."""
    subtotal = sum(line.subtotal for line in lines)
    fees = sum(line.fees for line in lines)
    tax = sum(line.tax for line in lines)
    absorbed = sum(line.absorbed_fees for line in lines)
    return Totals(subtotal, fees, absorbed, tax, subtotal + fees + tax)


def covers_fees(unit_price: int, terms: Terms) -> bool:
    """Tell whether the promoter's price pays the fees that it absorbs, however many tickets a line has.

    Compared before rounding, because a line rounds once: what fits one ticket by rounding down may not fit ten. The
    platform cannot keep more than the charge (docs.stripe.com/connect/destination-charges).
    """
    if not terms.absorbs_fees or unit_price == 0:
        return True
    return unit_price * (_WHOLE_BPS - terms.fee_rate_bps) >= terms.fee_fixed * _WHOLE_BPS


def _discounted(full: int, quantity: int, terms: Terms, discount: Discount) -> int:
    """Return what is left of a line's full price: nothing, or at least what can be charged and pays absorbed fees.

    Where the discount would leave less than that, but something, that is what the line costs (docs/adr/0025).
    """
    if discount.amount is not None:
        off = discount.amount * quantity
    else:
        off = _rounded(full * (discount.bps or 0), terms.step)
    left = max(full - off, 0)
    return left and min(max(left, _least(quantity, terms)), full)


def _least(quantity: int, terms: Terms) -> int:
    """Return the least that a line may cost if it costs anything, a multiple of the step."""
    least, kept_bps = terms.minimum, _WHOLE_BPS - terms.fee_rate_bps
    if terms.absorbs_fees and kept_bps:
        # Rounded up, as in `covers_fees`.
        least = max(least, -(-terms.fee_fixed * quantity * _WHOLE_BPS // kept_bps))
    return -(-least // terms.step) * terms.step


def _rounded(ten_thousandths: int, step: int) -> int:
    """Return an amount, given in ten-thousandths, as a multiple of the step, rounded half up."""
    whole = _WHOLE_BPS * step
    return (ten_thousandths + whole // 2) // whole * step
