"""How many may wait: what overload is cut down to, so that those who wait are served and reads stay fast."""

from dataclasses import dataclass

from domain.rules.polling import LONGEST, SHORTEST


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What the edge takes in. Fields have the meaning of the settings of the same name."""

    line_limit: int
    line_stock_factor: float
    line_spare: int
    waiting_orders_per_person: int


def is_beyond_stock(free: int, wanted_ahead: int, limits: AdmissionLimits) -> bool:
    """Tell whether those who wait want so much more than is free that nothing will be left behind them.

    Some of them give up, or may not have what they want: so it takes a multiple of the stock, and some more.
    """
    return wanted_ahead >= limits.line_stock_factor * free + limits.line_spare


def seconds_until_shorter(orders: int, service_rate: float | None) -> float:
    """Return after how long a line is a tenth shorter: when a new request for it has a chance."""
    return min(max(orders / 10 / service_rate, SHORTEST), LONGEST) if service_rate else LONGEST / 2
