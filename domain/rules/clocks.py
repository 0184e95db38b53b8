"""The clocks that run while stock is kept for somebody, in seconds."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Clocks:
    """How long stock is kept in each stage.

    `hold_seconds` is the time to pay once the buyer can; the first start of a payment adds `hold_extension_seconds`,
    and nothing moves the end past `hold_limit_seconds` after the stock was reserved.
    """

    hold_seconds: float
    hold_limit_seconds: float
    hold_extension_seconds: float
    partly_held_seconds: float
    approval_seconds: float
    offer_seconds: float
    expiring_limit_seconds: float

    def latest_end(self, reserved_at: datetime) -> datetime:
        """Return the moment past which nobody keeps stock without having paid."""
        return reserved_at + timedelta(seconds=self.hold_limit_seconds)
