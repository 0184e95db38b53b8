"""A long line as a whole: read once, kept for a while, and brought up to date by what the consumer writes down.

Every process that keeps a line tells the same place, since each poll reads how far the line has been decided
(`decided_until`) and how many have left it undecided (`withdrawn`): docs/adr/0016-places-and-admission.md.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

IN_FLIGHT = 1000
"""Behind the last so many numbers somebody may still turn up: a request under way has its number before its row is
seen. That part of a line is counted afresh each time."""
LAST_NUMBER = 2**63 - 1
"""Of a line: PostgreSQL's largest bigint."""
WITHDRAWALS_READ = 1000
"""A kept line of which more have left undecided is read again instead."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who waits in some part of a line: how many orders, and how many tickets they want."""

    orders: int
    quantity: int

    def __add__(self, other: "Crowd") -> "Crowd":
        return Crowd(self.orders + other.orders, self.quantity + other.quantity)


@dataclass(frozen=True, slots=True)
class WholeLine:
    """The numbers of all who waited at one reading, but for the last few, and who of them has left undecided since."""

    sequences: "array[int]"
    totals: "array[int]"
    """How many tickets those before each place want together; one more than there are places."""
    settled_until: int
    """Up to this number nobody turns up any more."""
    withdrawn: int
    """How many had left the tier's line undecided when this was last brought up to date."""
    gone: Sequence[int] = ()
    """The places of those who left undecided since the reading, in their order."""

    def between(self, decided_until: int, sequence: int) -> Crowd:
        """Return who waits between what has been decided and a number."""
        first, last = bisect_right(self.sequences, decided_until), bisect_left(self.sequences, sequence)
        if last <= first:
            return Crowd(0, 0)
        gone = self.gone[bisect_left(self.gone, first) : bisect_left(self.gone, last)]
        wanted_by_gone = sum(self.totals[place + 1] - self.totals[place] for place in gone)
        return Crowd(last - first - len(gone), self.totals[last] - self.totals[first] - wanted_by_gone)

    def without(self, sequences: Iterable[int], withdrawn: int) -> "WholeLine":
        """Return this line after these have left it undecided; those that it does not hold had left before."""
        gone = list(self.gone)
        for sequence in sequences:
            place = bisect_left(self.sequences, sequence)
            if place < len(self.sequences) and self.sequences[place] == sequence:
                insort(gone, place)
        return replace(self, gone=gone, withdrawn=withdrawn)


# Eight and four bytes each, big-endian: a hundred thousand rows would cost ten times as much. Whoever has cancelled
# waits until the consumer has taken the order out, so that all who leave do so in its order.
_READ = text("""
    SELECT string_agg(int8send(sequence), ''::bytea ORDER BY sequence) AS sequences,
           string_agg(int4send(quantity), ''::bytea ORDER BY sequence) AS quantities,
           coalesce((SELECT withdrawn FROM ticket_tiers WHERE id = :tier_id), 0) AS withdrawn
    FROM (
        SELECT sequence, quantity FROM order_items
        WHERE tier_id = :tier_id AND inventory_state = 'queued' AND desired_state IS NULL
        UNION ALL
        SELECT sequence, quantity FROM order_items
        WHERE tier_id = :tier_id AND inventory_state = 'queued' AND desired_state IS NOT NULL
    ) AS line
""")


def read(session: Session, tier_id: UUID) -> WholeLine:
    """Return the line of a tier as it is now."""
    row = session.execute(_READ, {"tier_id": tier_id}).one()
    sequences, quantities = _numbers("q", row.sequences), _numbers("i", row.quantities)
    settled_until = sequences[-1] - IN_FLIGHT if sequences else 0
    settled = bisect_right(sequences, settled_until)
    totals = array("q", accumulate(quantities[:settled], initial=0))
    return WholeLine(sequences[:settled], totals, settled_until, row.withdrawn)


def _numbers(kind: str, packed: bytes | None) -> "array[int]":
    numbers = array(kind, packed or b"")
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


_WITHDRAWALS = text("""
    SELECT sequence, withdrawal FROM order_items WHERE tier_id = :tier_id AND withdrawal > :withdrawn
    ORDER BY withdrawal LIMIT :most
""")


def bring_up_to_date(session: Session, tier_id: UUID, line: WholeLine) -> WholeLine | None:
    """Return the line without those who have left it undecided meanwhile, or None if those are too many."""
    since = {"tier_id": tier_id, "withdrawn": line.withdrawn, "most": WITHDRAWALS_READ}
    rows = session.execute(_WITHDRAWALS, since).all()
    if not rows:
        return line
    if len(rows) + len(line.gone) >= WITHDRAWALS_READ:
        return None
    return line.without([row.sequence for row in rows], rows[-1].withdrawal)


_COUNT = text("""
    SELECT count(*) AS orders, coalesce(sum(quantity), 0)::bigint AS quantity FROM (
        SELECT quantity FROM order_items
        WHERE tier_id = :tier_id AND sequence > :first AND sequence < :last
          AND inventory_state = 'queued' AND desired_state IS NULL
        UNION ALL
        SELECT quantity FROM order_items
        WHERE tier_id = :tier_id AND sequence > :first AND sequence < :last
          AND inventory_state = 'queued' AND desired_state IS NOT NULL
    ) AS line
""")


def count_between(session: Session, tier_id: UUID, first: int, last: int) -> Crowd:
    """Return who waits for a tier with numbers above `first` and below `last`."""
    row = session.execute(_COUNT, {"tier_id": tier_id, "first": first, "last": last}).one()
    return Crowd(row.orders, row.quantity)


# A number that was given before, to an order that was put back into the line, is given anew.
_WITHDRAW = text("""
    WITH leaving AS (
        SELECT id, :withdrawn + row_number() OVER (ORDER BY sequence) AS withdrawal
        FROM order_items WHERE id = ANY(:ids)
    ), told AS (
        UPDATE order_items AS item SET withdrawal = leaving.withdrawal FROM leaving WHERE item.id = leaving.id
        RETURNING item.id
    )
    SELECT count(*) FROM told
""")


def withdraw(session: Session, item_ids: Sequence[UUID], withdrawn: int) -> int:
    """Give items that leave the line undecided their numbers, on from `withdrawn`; return how many there are.

    For the tier's consumer: it counts the tier's `withdrawn` up by them in the same transaction.
    """
    if not item_ids:
        return 0
    return int(session.execute(_WITHDRAW, {"ids": list(item_ids), "withdrawn": withdrawn}).scalar_one())
