"""Real-time FIFO as the design defines it: whoever had a 202 before another's request began is served before them.

Requests that overlapped in time may stand in any order; nothing more than that is allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """One accepted order at one tier: its number, when its request began and was answered, and whether it got stock."""

    order_id: str
    sequence: int
    began: float
    answered: float
    is_served: bool


def find_unfair(turns: Sequence[Turn]) -> list[str]:
    """Return a sentence for each order of one tier that was overtaken by a request that began after its 202."""
    return [*_numbered_wrongly(turns), *_refused_before_later(turns)]


def _numbered_wrongly(turns: Sequence[Turn]) -> list[str]:
    wrong = []
    earliest_answer_behind = float("inf")
    for turn in sorted(turns, key=lambda turn: turn.sequence, reverse=True):
        if turn.began > earliest_answer_behind:
            wrong.append(f"order {turn.order_id} began after the 202 of one with a higher number than {turn.sequence}")
        earliest_answer_behind = min(earliest_answer_behind, turn.answered)
    return wrong


def _refused_before_later(turns: Sequence[Turn]) -> list[str]:
    last_served_began = max((turn.began for turn in turns if turn.is_served), default=float("-inf"))
    return [
        f"order {turn.order_id} was refused, and one that began after its 202 was served"
        for turn in turns
        if not turn.is_served and turn.answered < last_served_began
    ]
