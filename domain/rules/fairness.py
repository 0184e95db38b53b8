"""The log of a tier, as mathematics: how an entry is spelled, hidden in a commitment, and chained to those before it.

Plain Python over values, and quick: it runs for each order. `docs/fairness/check.py` spells the same without our code,
and a test compares the two. Times are whole microseconds since 1970.

    place       salt, order id, tier id (16 bytes each), sequence (8), quantity (4), received at (8), big-endian
    commitment  SHA-256 of `tv-commitment-1|` and the place
    entry       `tv-entry-1|tier id|position|kind|reason|sequence|quantity|received at|decided at|commitment`, ASCII,
                the commitment in hexadecimal; what is absent is empty
    hash        SHA-256 of the hash before it (32 bytes; zeros before the first) and the entry
    receipt     Ed25519 over `tv-receipt-1|kid|` and the place
    head        Ed25519 over `tv-head-1|kid|tier id|position|hash`, the hash in hexadecimal
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum, auto
from hashlib import sha256
from struct import Struct
from typing import NamedTuple, Protocol
from uuid import UUID

from domain.rules.states import OrderReason

GENESIS = bytes(32)
"""What stands before the first entry of a chain."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = Struct(">16s16s16sQIQ")


class EntryKind(StrEnum):
    """What the consumer decided."""

    STOCK = auto()
    """So much is free from here on: the first entry, a new quantity, corrected counters."""
    SERVED = auto()
    REFUSED = auto()
    OFFER = auto()
    """An entry of the waitlist was served."""
    RECLAIM = auto()
    """A payment that came late asked for its stock again; without a reason it got it."""
    RELEASE = auto()
    """Stock came back; 0 where somebody left the line who had none yet."""
    QUARANTINE = auto()


class Place(Protocol):
    """An order's place in the line of one tier: what its receipt says and its commitment hides."""

    @property
    def order_id(self) -> UUID: ...  # noqa: D102 the columns of the item and its order
    @property
    def sequence(self) -> int: ...  # noqa: D102
    @property
    def quantity(self) -> int: ...  # noqa: D102
    @property
    def received_at(self) -> datetime: ...  # noqa: D102
    @property
    def salt(self) -> UUID: ...  # noqa: D102


class Entry(NamedTuple):
    """One decision, before it has its position. `quantity` is what it moved, asked for, or left free."""

    kind: EntryKind
    quantity: int
    reason: OrderReason | None = None
    sequence: int | None = None
    received: int | None = None
    """In microseconds since 1970."""
    commitment: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: how many entries it has, and the hash that stands for all of them."""

    position: int
    hash: bytes


def decide(kind: EntryKind, place: Place, tier_id: UUID, quantity: int, reason: OrderReason | None) -> Entry:
    """Return the entry of a decision about an order: only who knows the salt can tell whose it is."""
    commitment = sha256(b"tv-commitment-1|" + _spell(place, tier_id)).digest()
    return Entry(kind, quantity, reason, place.sequence, _microseconds(place.received_at), commitment)


def receipt_text(place: Place, tier_id: UUID, kid: str) -> bytes:
    """Return what the signature of a receipt covers."""
    return b"tv-receipt-1|%s|" % kid.encode() + _spell(place, tier_id)


def head_text(tier_id: UUID, head: Head, kid: str) -> bytes:
    """Return what the signature of a chain's head covers."""
    return f"tv-head-1|{kid}|{tier_id}|{head.position}|{head.hash.hex()}".encode()


def chain(tier_id: UUID, head: Head, entries: Iterable[Entry], decided_at: datetime) -> list[bytes]:
    """Return the hashes of entries that are put behind the head."""
    tier, decided, last, hashes = str(tier_id), _microseconds(decided_at), head.hash, []
    for position, entry in enumerate(entries, start=head.position + 1):
        kind, quantity, reason, sequence, received, commitment = entry
        text = (
            f"tv-entry-1|{tier}|{position}|{kind}|{reason or ''}|{_or_nothing(sequence)}|{quantity}"
            f"|{_or_nothing(received)}|{decided}|{commitment.hex()}"
        )
        last = sha256(last + text.encode()).digest()
        hashes.append(last)
    return hashes


def _spell(place: Place, tier_id: UUID) -> bytes:
    received = _microseconds(place.received_at)
    return _PLACE.pack(place.salt.bytes, place.order_id.bytes, tier_id.bytes, place.sequence, place.quantity, received)


def _microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _or_nothing(number: int | None) -> int | str:
    return "" if number is None else number
