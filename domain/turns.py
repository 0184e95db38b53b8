"""One tier's part in a round of its consumer: what it looks at, what the rule decides, and what is to be written.

Nothing is written here; how turns are read and written together is in `domain/allocation.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from domain.fairness import Log, PlaceInLine
from domain.rules.allocation import REFUSALS, Claim, Decision, Kind, Refusal, Verdict, allocate
from domain.rules.codes import Allowance
from domain.rules.states import EventStatus, OrderReason
from domain.tier_rows import EventRow, TierRow

Rows = Sequence[Row[Any]]


@dataclass(slots=True)
class Outcome:
    """What one round did for a tier; `more` tells that the tier may have work left."""

    served: int = 0
    refused: int = 0
    offered: int = 0
    granted: int = 0
    more: bool = False
    request_ids: tuple[str, ...] = ()

    @property
    def decided(self) -> int:
        """How many orders were decided."""
        return self.served + self.refused

    @property
    def did_something(self) -> bool:
        """Whether the round changed anything in the line."""
        return bool(self.decided or self.offered or self.granted)


@dataclass(slots=True)
class Turn:
    """One tier, its event and what was decided; both rows are locked."""

    event: EventRow
    tier: TierRow
    wishes: Rows = ()
    """The items that somebody wants in another state."""
    line: Rows = ()
    """The head of the tier's line."""
    entries: Sequence[Claim] = ()
    """The waitlist's entries that stand among it, and could be served."""
    served: list[Row[Any]] = field(default_factory=list)
    refused: dict[Refusal, list[Row[Any]]] = field(default_factory=dict)
    offered: list[Claim] = field(default_factory=list)
    more: bool = False
    log: Log = field(init=False)
    """What the turn says in public."""
    _decisions: Sequence[Decision] = ()
    _tier_before: TierRow = field(init=False)

    def __post_init__(self) -> None:
        """Begin the log with what is free, before anything is changed."""
        self._tier_before = replace(self.tier)
        self.log = Log(self.tier)

    @property
    def has_changed_tier(self) -> bool:
        """Whether there is anything to write of the tier itself."""
        return self.tier != self._tier_before

    @property
    def closed_reason(self) -> OrderReason:
        """Why nobody is served where the event is not on sale."""
        is_cancelled = self.event.status is EventStatus.CANCELLED
        return OrderReason.EVENT_CANCELLED if is_cancelled else OrderReason.SALE_CLOSED

    @property
    def moves(self) -> bool:
        """Whether the line moves: not while it is paused, unless nothing is sold any more and people are told so."""
        return not self.tier.is_paused or not self.event.is_published

    @property
    def outcome(self) -> Outcome:
        """What came of it; a turn that changed nothing would change nothing again."""
        outcome = Outcome(
            served=len(self.served),
            refused=sum(len(items) for items in self.refused.values()),
            offered=len(self.offered),
            granted=len(self.wishes),
            request_ids=tuple(item.request_id for item in self.line if item.request_id),
        )
        outcome.more = self.more and outcome.did_something
        return outcome

    @property
    def decided_sequences(self) -> list[int]:
        """The numbers of those orders in line that were decided."""
        return [item.sequence for items in (self.served, *self.refused.values()) for item in items]

    @property
    def claims(self) -> Sequence[Claim]:
        """Everybody whom this round could decide."""
        return [*map(claim_of, self.line), *self.entries]

    def apply_desired_quantity(self) -> None:
        """Change the tier's quantity as its promoter asked, unless more has gone already."""
        tier, desired = self.tier, self.tier.desired_quantity
        if desired is None:
            return
        taken = tier.reserved + tier.sold
        if desired >= taken:
            tier.quantity, tier.quantity_refusal = desired, None
            self.log.stock()
        else:
            tier.quantity_refusal = f"{taken} tickets are sold or reserved, so {desired} cannot be enough."
        tier.desired_quantity = None

    def apply_rule(
        self, line: Iterable[Claim], taken: Mapping[UUID, int], allowances: Mapping[UUID, Allowance]
    ) -> list[Decision]:
        """Decide claims in sequence; `taken` is what each person holds of this tier, `allowances` are the codes'."""
        return allocate(
            line,
            self.tier.available,
            max_per_person=self.tier.max_per_person,
            already_taken=taken,
            allowances=allowances,
            skips_large_groups=self.event.skips_large_groups,
        )

    def decide(self, batch: int, taken: Mapping[UUID, int], allowances: Mapping[UUID, Allowance]) -> None:
        """Decide the line and the entries in their one sequence."""
        if not self.event.is_published:
            self.refused[Refusal(self.closed_reason)] = list(self.line)
            return
        rows = {item.id: item for item in self.line}
        self._decisions = self.apply_rule(self._up_to_last_entry(batch), taken, allowances)
        for decision in self._decisions:
            place, verdict = decision.claim, decision.verdict
            if place.kind is Kind.ORDER and verdict is Verdict.SERVED:
                self.served.append(rows[place.id])
            elif place.kind is Kind.ORDER:
                self.refused.setdefault(REFUSALS[verdict], []).append(rows[place.id])
            elif verdict is Verdict.SERVED:
                self.offered.append(place)

    def note_line(self, places: Mapping[UUID, PlaceInLine]) -> None:
        """Say in the log what became of the line, in its order; `places` are those of the orders that were offered."""
        if not self.event.is_published:
            self.log.note_refusals(self.line, self.closed_reason)
        self.log.note_line(self._decisions, {item.id: item for item in self.line}, places)

    def _up_to_last_entry(self, batch: int) -> Sequence[Claim]:
        """Return who is decided now: orders behind the last entry that was read must wait for the next round."""
        if len(self.entries) < batch or self.entries[-1].quantity > self.tier.available:
            return self.claims
        self.more = True
        return [place for place in self.claims if place.sequence <= self.entries[-1].sequence]


def claim_of(item: Row[Any]) -> Claim:
    """Return the place that an order's item has in its tier's line."""
    return Claim(item.sequence, Kind.ORDER, item.id, item.user_id, item.quantity, item.code_id)
