"""The order of faults: one deck holds every fault once, shuffled; it is dealt hand by hand, then shuffled again."""

from random import Random

from tools.faults.faults import FAULTS, Fault

HANDS = (1, 1, 1, 2, 2, 3)
"""How many faults strike at once, by equal chance."""


class Deck:
    """Deals faults that strike together; the chance that it is given makes all of it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._left: list[Fault] = []

    def deal(self) -> list[Fault]:
        """Return the next faults; no two of them touch the same thing."""
        hand: list[Fault] = []
        for _ in range(self._random.choice(HANDS)):
            touched = {fault.touches for fault in hand}
            if fitting := next((fault for fault in self._shuffled() if fault.touches not in touched), None):
                self._left.remove(fitting)
                hand.append(fitting)
        return hand

    def _shuffled(self) -> list[Fault]:
        if not self._left:
            self._left = self._random.sample(FAULTS, len(FAULTS))
        return self._left
