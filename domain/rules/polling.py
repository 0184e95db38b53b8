"""When a client should come again: from the real queue, with jitter, so that polite clients cost little."""

from domain.rules.lifecycle import ENDED
from domain.rules.states import OrderStage

SHORTEST, LONGEST = 1, 60
"""No `Retry-After` is shorter or longer than so many seconds."""
RARELY = 40.0
"""What waits for a person; with its jitter it stays within the longest."""
_BY_STAGE = {
    OrderStage.AWAITING_APPROVAL: RARELY,
    OrderStage.OFFERED: RARELY,
    OrderStage.AWAITING_PAYMENT: 5.0,
    OrderStage.PAYMENT_DELAYED: 5.0,
    OrderStage.QUARANTINED: RARELY,
}
_SOON = 1.0
CROWD = 100
"""Behind so many it matters that not all come again in the same second."""


def retry_after(
    stage: OrderStage, eta_seconds: float | None, *, is_paused: bool, chance: float, ahead: int = 0
) -> int | None:
    """Return after how many seconds to ask again, or None when nothing will move any more.

    `chance`, between 0 and 1, spreads the clients; how many are `ahead` tells whether there is a crowd of them.
    """
    if stage in ENDED:
        return None
    seconds = RARELY if is_paused else _BY_STAGE.get(stage, _SOON)
    if stage is OrderStage.QUEUED and eta_seconds is not None:
        # Half the way: early enough to see the place change, and often enough to be there when served.
        seconds = min(max(eta_seconds / 2, _SOON), RARELY)
    return spread(seconds, chance, is_crowd=ahead >= CROWD)


def spread(seconds: float, chance: float, *, is_crowd: bool = True) -> int:
    """Return whole seconds, spread over half the time again, and in a crowd over a second at least."""
    width = max(seconds / 2, 1.0 if is_crowd else 0.0)
    return min(max(round(seconds + chance * width), SHORTEST), LONGEST)
