"""Draws the tables of legal moves into the documentation: `python -m tools.diagrams` writes what has changed.

A page holds a diagram between `<!-- diagram: NAME -->` and `<!-- end of diagram -->`; a test compares them all.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from domain.rules import attempts, lifecycle
from domain.rules.states import AttemptKind, AttemptStatus, OrderStage
from domain.rules.states import AttemptStatus as A
from domain.rules.states import OrderStage as S

State = TypeVar("State", OrderStage, AttemptStatus)

DOCS = Path(__file__).parents[1] / "docs"

PAYING = frozenset(
    {S.HELD, S.AWAITING_PAYMENT, S.PAYMENT_DELAYED, S.PROCESSING, S.EXPIRING, S.ISSUING, S.COMPLETE, S.CLOSED}
)
"""The stages in which an order has to do with money."""

ORDER_WORDS: Mapping[tuple[S, S], str] = {
    (S.HELD, S.AWAITING_PAYMENT): "intent opened, the clock starts",
    (S.HELD, S.PAYMENT_DELAYED): "Stripe in trouble",
    (S.HELD, S.ISSUING): "free of charge",
    (S.HELD, S.EXPIRING): "time is over",
    (S.HELD, S.CLOSED): "given up, or refused",
    (S.AWAITING_PAYMENT, S.PROCESSING): "payment started",
    (S.AWAITING_PAYMENT, S.PAYMENT_DELAYED): "Stripe in trouble",
    (S.AWAITING_PAYMENT, S.ISSUING): "paid with Stripe.js",
    (S.AWAITING_PAYMENT, S.EXPIRING): "time is over, or cancelled",
    (S.PAYMENT_DELAYED, S.AWAITING_PAYMENT): "Stripe is back",
    (S.PAYMENT_DELAYED, S.PROCESSING): "payment started again",
    (S.PAYMENT_DELAYED, S.ISSUING): "paid",
    (S.PAYMENT_DELAYED, S.EXPIRING): "time is over, or cancelled",
    (S.PROCESSING, S.AWAITING_PAYMENT): "declined, or 3-D Secure",
    (S.PROCESSING, S.PAYMENT_DELAYED): "Stripe in trouble",
    (S.PROCESSING, S.ISSUING): "paid",
    (S.PROCESSING, S.EXPIRING): "time is over, or cancelled",
    (S.EXPIRING, S.ISSUING): "was paid after all",
    (S.EXPIRING, S.CLOSED): "intent cancelled",
    (S.ISSUING, S.COMPLETE): "QR codes drawn",
    (S.ISSUING, S.CLOSED): "refunded",
    (S.COMPLETE, S.CLOSED): "refunded, or a dispute lost",
    (S.CLOSED, S.ISSUING): "paid late, the stock was there again",
    (S.OFFERED, S.HELD): "accepted",
}

REFUND_WORDS: Mapping[tuple[A, A], str] = {
    (A.CREATED, A.PROCESSING): "pending at Stripe",
    (A.CREATED, A.UNKNOWN): "no answer",
    (A.CREATED, A.SUCCEEDED): "done",
    (A.CREATED, A.FAILED): "refused",
    (A.UNKNOWN, A.PROCESSING): "found pending",
    (A.UNKNOWN, A.SUCCEEDED): "found done",
    (A.UNKNOWN, A.FAILED): "never made",
    (A.PROCESSING, A.SUCCEEDED): "done",
    (A.PROCESSING, A.FAILED): "the bank refused",
    (A.SUCCEEDED, A.FAILED): "came back",
}

DISPUTE_WORDS: Mapping[tuple[A, A], str] = {
    (A.PROCESSING, A.SUCCEEDED): "lost",
    (A.PROCESSING, A.FAILED): "won",
    (A.SUCCEEDED, A.FAILED): "won after all",
}


def order() -> str:
    """Draw every move of an order."""
    return _draw(_moves(lifecycle.MOVES), ORDER_WORDS, start=S.QUEUED)


def payment() -> str:
    """Draw the moves of an order that have to do with money."""
    moves = ((source, target) for source, target in _moves(lifecycle.MOVES) if {source, target} <= PAYING)
    return _draw(moves, ORDER_WORDS, start=S.HELD)


def charge() -> str:
    """Draw the moves of an attempt to charge."""
    return _draw(_moves(attempts.MOVES[AttemptKind.CHARGE]), {}, start=A.CREATED)


def refund() -> str:
    """Draw the moves of a refund."""
    return _draw(_moves(attempts.MOVES[AttemptKind.REFUND]), REFUND_WORDS, start=A.CREATED)


def dispute() -> str:
    """Draw the moves of a dispute."""
    return _draw(_moves(attempts.MOVES[AttemptKind.DISPUTE]), DISPUTE_WORDS, start=A.PROCESSING)


DIAGRAMS: Mapping[str, Callable[[], str]] = {draw.__name__: draw for draw in (order, payment, charge, refund, dispute)}

_PLACE = re.compile(r"(?<=<!-- diagram: )(\w+)( -->\n).*?(?=<!-- end of diagram -->)", re.DOTALL)


def redraw(page: str) -> str:
    """Return a page with its diagrams as the tables have them now; raise `KeyError` for one that nobody knows."""
    return _PLACE.sub(lambda place: f"{place[1]}{place[2]}{DIAGRAMS[place[1]]()}", page)


def pages() -> Iterator[Path]:
    """Yield the pages that hold diagrams."""
    return (page for page in sorted(DOCS.glob("*.md")) if _PLACE.search(page.read_text()))


def main() -> int:
    """Write the diagrams of all pages."""
    for page in pages():
        before = page.read_text()
        if (after := redraw(before)) != before:
            page.write_text(after)
            print(f"drew {page.name} again")
    return 0


def _moves(table: Mapping[State, frozenset[State]]) -> Iterator[tuple[State, State]]:
    places = list(type(next(iter(table))))
    return ((source, target) for source in places for target in sorted(table.get(source, ()), key=places.index))


def _draw(moves: Iterator[tuple[State, State]], words: Mapping[tuple[State, State], str], *, start: State) -> str:
    lines: list[str] = [f"    [*] --> {start}"]
    for source, target in moves:
        word = words.get((source, target))
        lines.append(f"    {source} --> {target}" + (f": {word}" if word else ""))
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


if __name__ == "__main__":
    sys.exit(main())
