"""When a polling client should come again: from the real queue, with jitter, so that polite clients cost little."""

from domain.rules.lifecycle import ENDED
from domain.rules.states import OrderStage

LONGEST = 30.0
_BY_STAGE = {
    OrderStage.AWAITING_APPROVAL: LONGEST,
    OrderStage.OFFERED: LONGEST,
    OrderStage.AWAITING_PAYMENT: 5.0,
    OrderStage.PAYMENT_DELAYED: 5.0,
    OrderStage.QUARANTINED: LONGEST,
}
_SOON = 1.0


def retry_after(stage: OrderStage, eta_seconds: float | None, *, is_paused: bool, chance: float) -> int | None:
    """Return after how many seconds to ask again, or None when nothing will move any more.

    `chance`, between 0 and 1, spreads the clients over half the interval again.
    """
    if stage in ENDED:
        return None
    seconds = LONGEST if is_paused else _BY_STAGE.get(stage, _SOON)
    if stage is OrderStage.QUEUED and eta_seconds is not None:
        # Half the way: early enough to see the place change, and often enough to be there when served.
        seconds = min(max(eta_seconds / 2, _SOON), LONGEST)
    return max(1, round(seconds * (1 + chance / 2)))
