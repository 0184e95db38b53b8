"""The one table of legal moves of an order, what each stage means for its status, and the moves of a ticket.

Every change of stage in the code names its source stages through `sources_of`, so that no statement can make a
move that is not drawn here.
"""

from domain.rules.states import OrderStage as S
from domain.rules.states import OrderStatus
from domain.rules.states import TicketStatus as T

MOVES: dict[S, frozenset[S]] = {
    S.QUEUED: frozenset({S.PARTLY_HELD, S.AWAITING_APPROVAL, S.HELD, S.CLOSED, S.QUARANTINED}),
    S.PARTLY_HELD: frozenset({S.AWAITING_APPROVAL, S.HELD, S.CLOSED, S.QUARANTINED}),
    S.AWAITING_APPROVAL: frozenset({S.HELD, S.CLOSED}),
    S.OFFERED: frozenset({S.AWAITING_APPROVAL, S.HELD, S.CLOSED}),
    S.HELD: frozenset({S.AWAITING_PAYMENT, S.PAYMENT_DELAYED, S.ISSUING, S.EXPIRING, S.CLOSED}),
    S.AWAITING_PAYMENT: frozenset({S.PROCESSING, S.PAYMENT_DELAYED, S.ISSUING, S.EXPIRING}),
    S.PAYMENT_DELAYED: frozenset({S.AWAITING_PAYMENT, S.PROCESSING, S.ISSUING, S.EXPIRING}),
    S.PROCESSING: frozenset({S.AWAITING_PAYMENT, S.PAYMENT_DELAYED, S.ISSUING, S.EXPIRING}),
    # Stock is kept while the intent is being cancelled: it may turn out to have been paid.
    S.EXPIRING: frozenset({S.ISSUING, S.CLOSED}),
    S.ISSUING: frozenset({S.COMPLETE, S.CLOSED}),
    S.COMPLETE: frozenset({S.CLOSED}),
    # The only move back: a late payment whose stock was there again.
    S.CLOSED: frozenset({S.ISSUING}),
    S.QUARANTINED: frozenset({S.QUEUED, S.CLOSED}),
}

TICKET_MOVES: dict[T, frozenset[T]] = {
    T.VALID: frozenset({T.USED, T.CANCELLED, T.REFUNDED}),
    # The only move back: a check-in that is undone.
    T.USED: frozenset({T.VALID, T.CANCELLED, T.REFUNDED}),
    T.CANCELLED: frozenset(),
    T.REFUNDED: frozenset(),
}

ENDED = frozenset({S.COMPLETE, S.CLOSED})
"""Stages in which nothing moves any more without a person."""

WAITING = frozenset({S.QUEUED, S.PARTLY_HELD})
"""Stages in which the order stands in a tier's queue."""

PAYABLE = frozenset({S.AWAITING_PAYMENT, S.PAYMENT_DELAYED, S.PROCESSING})
"""Stages in which an intent exists and a payment may arrive."""

HOLDING = frozenset(
    {S.PARTLY_HELD, S.AWAITING_APPROVAL, S.HELD, S.OFFERED, *PAYABLE, S.EXPIRING},
)
"""Stages in which stock is kept for the order and a clock runs."""

CONFIRMED = frozenset({S.ISSUING, S.COMPLETE})


def sources_of(target: S) -> frozenset[S]:
    """Return the stages from which an order may move to `target`."""
    return frozenset(stage for stage, targets in MOVES.items() if target in targets)


def may_move(source: S, target: S) -> bool:
    """Tell whether an order in stage `source` may move to `target`."""
    return target in MOVES[source]


def may_become(source: T, target: T) -> bool:
    """Tell whether a ticket in status `source` may move to `target`."""
    return target in TICKET_MOVES[source]


def status_of(stage: S, *, refunded: bool = False) -> OrderStatus:
    """Return the coarse status that belongs to a stage; a closed order is cancelled or refunded."""
    if stage in CONFIRMED:
        return OrderStatus.CONFIRMED
    if stage is S.CLOSED:
        return OrderStatus.REFUNDED if refunded else OrderStatus.CANCELLED
    return OrderStatus.PENDING
