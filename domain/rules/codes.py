"""Codes: what they may take, and how they are spelled. What a discount costs is in `pricing.py`."""

from dataclasses import dataclass, field
from uuid import UUID

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Of generated codes: without O, I, 0 and 1, which people take for each other. Five bits each."""
RANDOM_LETTERS = 10
"""50 bits: at the rate at which wrong codes may be tried, nobody finds one of a thousand within a sale."""


def spell(text: str) -> str:
    """Return a code as it is kept, however it was typed."""
    return text.strip().upper()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a code may take: orders, tickets, and tickets per person; null is without limit."""

    max_uses: int | None = None
    max_tickets: int | None = None
    max_per_person: int | None = None


@dataclass(slots=True)
class Allowance:
    """What a code has given and may still give, while its counters are locked.

    A use is an order, by its number in line, that holds tickets with the code, be it of one tier or of many; `held`
    and `by_person` say how many, as far as the orders and people of this round are concerned.
    """

    limits: Limits
    uses: int
    tickets: int
    held: dict[int, int] = field(default_factory=dict)
    by_person: dict[UUID, int] = field(default_factory=dict)

    def admits(self, order: int, person: UUID, quantity: int) -> bool:
        """Tell whether an order may take so many tickets with the code."""
        uses = self.uses if self.held.get(order) else self.uses + 1
        return (
            _is_within(uses, self.limits.max_uses)
            and _is_within(self.tickets + quantity, self.limits.max_tickets)
            and _is_within(self.by_person.get(person, 0) + quantity, self.limits.max_per_person)
        )

    def take(self, order: int, person: UUID, quantity: int) -> None:
        """Count tickets that an order takes, or with a negative quantity gives back."""
        before = self.held.get(order, 0)
        after = self.held[order] = before + quantity
        self.uses += bool(after) - bool(before)
        self.tickets += quantity
        self.by_person[person] = self.by_person.get(person, 0) + quantity


def _is_within(count: int, limit: int | None) -> bool:
    return limit is None or count <= limit
