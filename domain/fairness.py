"""The log by which a buyer can prove that nobody was put before them: what a round decided, chained and written.

How entries are spelled and hashed: `domain/rules/fairness.py`. Who decides: `domain/allocation.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from domain.models import Order, OrderItem
from domain.rules.allocation import REASONS, Decision
from domain.rules.fairness import GENESIS, Entry, EntryKind, Head, Place, chain, decide
from domain.rules.states import OrderReason
from domain.tier_rows import TierRow

PAGE = 1000
"""So many entries are read at once: a log of any length takes no more memory."""


Written = tuple[UUID, int, Entry, bytes]
"""An entry as it is written: its tier, its position, and the hash that stands for all up to it."""


@dataclass(frozen=True, slots=True)
class PlaceInLine:
    """An order's place in the line of one tier."""

    order_id: UUID
    sequence: int
    quantity: int
    received_at: datetime
    salt: UUID


def place_of(item: OrderItem, order: Order) -> PlaceInLine:
    """Return the place of an order's item; it never changes."""
    return PlaceInLine(order.id, item.sequence, item.quantity, order.created_at, item.salt)


class Log:
    """What one round decides about a locked tier, in that order, until `write`."""

    def __init__(self, tier: TierRow) -> None:
        self._tier = tier
        self._entries: list[Entry] = []
        if tier.fairness_position == 0:
            # A chain begins with what is free, so that it explains itself however much was sold before it.
            self.stock()

    def stock(self) -> None:
        """Say what is free now, because something else than a decision about an order has changed it."""
        self._entries.append(Entry(EntryKind.STOCK, self._tier.available))

    def note(
        self, kind: EntryKind, place: Place, *, quantity: int | None = None, reason: OrderReason | None = None
    ) -> None:
        """Say what was decided about an order; the quantity is all that it asked for unless it is given."""
        moved = place.quantity if quantity is None else quantity
        self._entries.append(decide(kind, place, self._tier.id, moved, reason))

    def note_releases(self, granted: Iterable[Row[Any]]) -> None:
        """Say what came back: of whole items, of single tickets, of orders that had nothing yet."""
        for item in granted:
            if item.freed or item.has_left:
                self.note(EntryKind.RELEASE, item, quantity=item.freed)

    def note_refusals(self, items: Iterable[Row[Any]], reason: OrderReason) -> None:
        """Say that all of these were refused."""
        for item in items:
            self.note(EntryKind.REFUSED, item, reason=reason)

    def note_reclaims(
        self, items: Sequence[Row[Any]], decisions: Sequence[Decision], *, otherwise: OrderReason
    ) -> None:
        """Say who got stock again for a late payment, and why the others did not."""
        reasons = {decision.claim.id: REASONS.get(decision.verdict) for decision in decisions}
        for item in items:
            self.note(EntryKind.RECLAIM, item, reason=reasons.get(item.id, otherwise))

    def note_line(
        self, decisions: Sequence[Decision], items: Mapping[UUID, Any], offered: Mapping[UUID, Place]
    ) -> None:
        """Say what became of the line, in its order; entries of the waitlist that wait on are not decided."""
        for decision in decisions:
            claim = decision.claim
            if claim.id in offered:
                self.note(EntryKind.OFFER, offered[claim.id])
            elif claim.id in items:
                reason = REASONS.get(decision.verdict)
                self.note(EntryKind.REFUSED if reason else EntryKind.SERVED, items[claim.id], reason=reason)

    def close(self, decided_at: datetime) -> list[Written]:
        """Chain the entries behind the tier's log and move its head; return them as they are to be written."""
        tier, entries = self._tier, self._entries
        if not entries or (tier.fairness_position == 0 and len(entries) == 1):
            return []  # nothing was decided yet
        hashes = chain(tier.id, Head(tier.fairness_position, tier.fairness_hash), entries, decided_at)
        first = tier.fairness_position + 1
        tier.fairness_position, tier.fairness_hash = tier.fairness_position + len(entries), hashes[-1]
        return [(tier.id, first + place, entry, hashes[place]) for place, entry in enumerate(entries)]


def write(session: Session, logs: Iterable[Log], decided_at: datetime) -> None:
    """Put what these logs say behind their tiers' chains, all at once; the tiers' heads are for the caller to write."""
    written = [entry for log in logs for entry in log.close(decided_at)]
    if not written:
        return
    entries = [entry for _, _, entry, _ in written]
    session.execute(
        _WRITE,
        {
            "decided_at": decided_at,
            "tiers": _list(tier_id for tier_id, _, _, _ in written),
            "positions": _list(position for _, position, _, _ in written),
            "kinds": _list(entry.kind for entry in entries),
            "reasons": _list(entry.reason for entry in entries),
            "sequences": _list(entry.sequence for entry in entries),
            "quantities": _list(entry.quantity for entry in entries),
            "received": _list(entry.received for entry in entries),
            "commitments": b"".join(entry.commitment or GENESIS for entry in entries),
            "hashes": b"".join(entry_hash for _, _, _, entry_hash in written),
        },
    )


def _list(values: Iterable[str | int | UUID | None]) -> str:
    return ",".join("" if value is None else str(value) for value in values)


# Lists travel as one text or one row of bytes each: as arrays they would cost twelve times as much CPU.
_WRITE = text("""
    INSERT INTO fairness_entries (tier_id, position, kind, reason, sequence, quantity, received_at, decided_at,
                                  commitment, hash)
    SELECT entry.tier_id, entry.position, entry.kind, entry.reason, entry.sequence, entry.quantity,
           TIMESTAMPTZ 'epoch' + entry.received * INTERVAL '1 microsecond', :decided_at,
           CASE WHEN entry.sequence IS NOT NULL
                THEN substr(:commitments, CAST(entry.place AS integer) * 32 - 31, 32) END,
           substr(:hashes, CAST(entry.place AS integer) * 32 - 31, 32)
    FROM unnest(CAST(string_to_array(:tiers, ',') AS uuid[]), CAST(string_to_array(:positions, ',') AS bigint[]),
                string_to_array(:kinds, ','), string_to_array(:reasons, ',', ''),
                CAST(string_to_array(:sequences, ',', '') AS bigint[]),
                CAST(string_to_array(:quantities, ',') AS integer[]),
                CAST(string_to_array(:received, ',', '') AS bigint[]))
        WITH ORDINALITY AS entry (tier_id, position, kind, reason, sequence, quantity, received, place)
""")


def find_place(session: Session, item_id: UUID) -> tuple[UUID, PlaceInLine]:
    """Return the tier of an order item, and the item's place in its line."""
    item, order = session.execute(
        select(OrderItem, Order).join(Order, Order.id == OrderItem.order_id).where(OrderItem.id == item_id)
    ).one()
    return item.tier_id, place_of(item, order)


def read_pages(session: Session, tier_id: UUID, upto: int) -> Iterator[Sequence[Row[Any]]]:
    """Yield the entries of a tier's log up to a position, page after page."""
    after = 0
    while after < upto:
        page = session.execute(_READ_PAGE, {"tier_id": tier_id, "after": after, "upto": min(upto, after + PAGE)}).all()
        session.rollback()  # the snapshot of a slow reader must not hold the server's cleaning up
        if not page:
            return
        yield page
        after = page[-1].position


_READ_PAGE = text("""
    SELECT position, kind, reason, sequence, quantity, received_at, decided_at, commitment, hash FROM fairness_entries
    WHERE tier_id = :tier_id AND position > :after AND position <= :upto ORDER BY position
""")
