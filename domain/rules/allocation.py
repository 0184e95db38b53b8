"""The rule by which a tier's stock is handed out: in sequence, orders and waiting entries in one line.

Values in, decisions out; who carries them out is `domain/allocation.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from uuid import UUID

from domain.rules.codes import Allowance
from domain.rules.states import OrderReason


class Kind(StrEnum):
    """What stands in the line."""

    ORDER = auto()
    ENTRY = auto()


class Verdict(StrEnum):
    """What becomes of a claim. An order is served or refused; an entry of the waitlist is served or waits on."""

    SERVED = auto()
    SOLD_OUT = auto()
    LIMIT_EXCEEDED = auto()
    CODE_EXHAUSTED = auto()
    WAITS = auto()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order is refused; `limit` says whose it was where that is not the tier's."""

    reason: OrderReason
    limit: str | None = None


REFUSALS = {
    Verdict.SOLD_OUT: Refusal(OrderReason.SOLD_OUT),
    Verdict.LIMIT_EXCEEDED: Refusal(OrderReason.LIMIT_EXCEEDED),
    Verdict.CODE_EXHAUSTED: Refusal(OrderReason.LIMIT_EXCEEDED, limit="code"),
}
"""What an order is told that was refused."""
REASONS = {verdict: refusal.reason for verdict, refusal in REFUSALS.items()}
"""What the public log says of it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody's place in the line. `id` is the order item's or the waitlist entry's, `code_id` what it was sent with.

    All items of an order have its one number, by which it is known to its code (docs/adr/0010).
    """

    sequence: int
    kind: Kind
    id: UUID
    person: UUID
    quantity: int
    code_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rule decided about a claim."""

    claim: Claim
    verdict: Verdict


def allocate(
    line: Iterable[Claim],
    available: int,
    *,
    max_per_person: int | None = None,
    already_taken: Mapping[UUID, int] | None = None,
    allowances: Mapping[UUID, Allowance] | None = None,
    skips_large_groups: bool = True,
) -> list[Decision]:
    """Decide every claim of the line, lowest sequence first.

    A claim takes what it asks for or nothing. An order that does not fit is refused. A waiting entry that does not
    fit keeps its place, and is passed over by those behind it only where `skips_large_groups` allows; otherwise
    nobody behind it is served. `already_taken` is what each person holds of this tier from before. What is served is
    taken from the `allowances` of the codes, which other tiers share.
    """
    taken = dict(already_taken or {})
    decisions = []
    for claim in sorted(line, key=lambda claim: claim.sequence):
        person_has = taken.get(claim.person, 0)
        code = allowances[claim.code_id] if allowances and claim.code_id is not None else None
        if max_per_person is not None and person_has + claim.quantity > max_per_person:
            # A waiting person whose other order may still lapse keeps the place, and holds nobody up.
            verdict = Verdict.LIMIT_EXCEEDED if claim.kind is Kind.ORDER else Verdict.WAITS
        elif code is not None and not code.admits(claim.sequence, claim.person, claim.quantity):
            verdict = Verdict.CODE_EXHAUSTED
        elif claim.quantity <= available:
            verdict = Verdict.SERVED
            available -= claim.quantity
            taken[claim.person] = person_has + claim.quantity
            if code is not None:
                code.take(claim.sequence, claim.person, claim.quantity)
        elif claim.kind is Kind.ORDER:
            verdict = Verdict.SOLD_OUT
        else:
            verdict = Verdict.WAITS
            if not skips_large_groups:
                available = 0
        decisions.append(Decision(claim, verdict))
    return decisions
