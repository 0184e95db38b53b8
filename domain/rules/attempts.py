"""The table of legal moves of an attempt to move money, by what it is: a charge, a refund, or a dispute.

`PaymentTransaction` refuses any other, so that what docs/payments.md draws from this table is what happens.
"""

from collections.abc import Mapping

from domain.rules.states import AttemptKind
from domain.rules.states import AttemptStatus as S

Moves = Mapping[S, frozenset[S]]

# An attempt that nobody waits for any more may turn out to have opened its intent after all; that is cancelled then.
_LATE_OPENING = frozenset({S.REQUIRES_PAYMENT_METHOD})

_CHARGE: Moves = {
    S.CREATED: frozenset({S.REQUIRES_PAYMENT_METHOD, S.UNKNOWN, S.FAILED, S.CANCELLED}),
    S.UNKNOWN: frozenset(
        {S.REQUIRES_PAYMENT_METHOD, S.REQUIRES_ACTION, S.PROCESSING, S.SUCCEEDED, S.FAILED, S.CANCELLED}
    ),
    S.REQUIRES_PAYMENT_METHOD: frozenset({S.REQUIRES_ACTION, S.PROCESSING, S.SUCCEEDED, S.CANCELLED, S.UNKNOWN}),
    S.REQUIRES_ACTION: frozenset({S.REQUIRES_PAYMENT_METHOD, S.PROCESSING, S.SUCCEEDED, S.CANCELLED, S.UNKNOWN}),
    S.PROCESSING: frozenset({S.REQUIRES_PAYMENT_METHOD, S.REQUIRES_ACTION, S.SUCCEEDED, S.CANCELLED, S.UNKNOWN}),
    S.FAILED: _LATE_OPENING,
    S.CANCELLED: _LATE_OPENING,
    S.SUCCEEDED: frozenset(),
}

_REFUND: Moves = {
    S.CREATED: frozenset({S.PROCESSING, S.UNKNOWN, S.SUCCEEDED, S.FAILED}),
    S.UNKNOWN: frozenset({S.PROCESSING, S.SUCCEEDED, S.FAILED}),
    S.PROCESSING: frozenset({S.SUCCEEDED, S.FAILED}),
    # Days later the bank may send it back (docs.stripe.com/refunds#failed-refunds).
    S.SUCCEEDED: frozenset({S.FAILED}),
    S.FAILED: frozenset(),
}

_DISPUTE: Moves = {
    # Open. It succeeds for the card's owner, who gets the money; it fails when we win.
    S.PROCESSING: frozenset({S.SUCCEEDED, S.FAILED}),
    # A won dispute is one of the few moves back.
    S.SUCCEEDED: frozenset({S.FAILED}),
    S.FAILED: frozenset(),
}

MOVES: Mapping[AttemptKind, Moves] = {
    AttemptKind.CHARGE: _CHARGE,
    AttemptKind.REFUND: _REFUND,
    AttemptKind.DISPUTE: _DISPUTE,
}


def may_move(kind: AttemptKind, source: S, target: S) -> bool:
    """Tell whether an attempt of this kind may go from `source` to `target`, or is there already."""
    return source is target or target in MOVES[kind].get(source, frozenset())
