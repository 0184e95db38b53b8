"""An event's money by three accounts, the provider's, the ledger's and the tickets', and where they do not agree.

Values in, comparison out. What is compared is read in `payments/statements.py` and `payments/sales.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from uuid import UUID


class MismatchKind(StrEnum):
    """What does not agree: first the provider with the ledger, then the ledger with the tickets."""

    MISSING_IN_LEDGER = auto()
    MISSING_AT_PROVIDER = auto()
    AMOUNT = auto()
    FEE = auto()
    REFUNDED = auto()
    DISPUTED = auto()
    PAID_WITHOUT_TICKETS = auto()
    TICKETS_WITHOUT_PAYMENT = auto()
    TICKETS_WITHOUT_REFUND = auto()


@dataclass(frozen=True, slots=True)
class Money:
    """What was charged, and what went away again; `fees` is the platform's part, less what of it was given back."""

    charged: int = 0
    fees: int = 0
    refunded: int = 0
    disputed: int = 0

    @property
    def kept(self) -> int:
        """What was charged and has not gone back."""
        return self.charged - self.refunded - self.disputed

    def __add__(self, other: "Money") -> "Money":
        """Return both together."""
        return Money(
            self.charged + other.charged,
            self.fees + other.fees,
            self.refunded + other.refunded,
            self.disputed + other.disputed,
        )


@dataclass(frozen=True, slots=True)
class Captured:
    """A charge as the provider has it."""

    charge_id: str
    intent_id: str | None
    currency: str
    money: Money


@dataclass(frozen=True, slots=True)
class Booked:
    """An attempt to charge as the ledger has it, which is with zeros where it brought nothing.

    `is_split` says that the provider takes the platform's fee out of it, because the rest is a connected account's.
    """

    charge_id: str | None
    intent_id: str | None
    is_split: bool
    money: Money


@dataclass(frozen=True, slots=True)
class Seats:
    """Tickets of an order by their prices: all that were bought, all that were ever issued, and what became of them."""

    bought: int = 0
    issued: int = 0
    valid: int = 0
    blocked: int = 0
    """Valid but for a dispute that blocks them; not counted as valid."""
    used: int = 0
    refunded: int = 0
    live: int = 0
    """How many are valid, blocked or used."""

    @property
    def live_value(self) -> int:
        """What the tickets cost that were not taken back."""
        return self.valid + self.blocked + self.used


@dataclass(frozen=True, slots=True)
class Sale:
    """An order with its charges and tickets; `is_moving` while money or tickets of it are on their way."""

    order_id: UUID
    order_number: str
    currency: str
    total: int
    is_moving: bool
    charges: Sequence[Booked]
    seats: Seats


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two numbers that should be one: the provider's and the ledger's, or the ledger's and the tickets'."""

    kind: MismatchKind
    order_id: UUID | None
    order_number: str | None
    charge_id: str | None
    provider: int | None = None
    ledger: int = 0
    tickets: int | None = None

    @property
    def difference(self) -> int:
        """By how much the first of the two is more."""
        if self.provider is not None:
            return self.provider - self.ledger
        return self.ledger - (self.tickets or 0)


@dataclass(slots=True)
class Comparison:
    """The totals of the three accounts, and each place where they do not agree.

    `unsplit_fees` are the platform's fees inside charges of its own account: the provider knows nothing of them, so
    they are in no total and are not compared.
    """

    provider: Money = field(default_factory=Money)
    ledger: Money = field(default_factory=Money)
    unsplit_fees: int = 0
    live_tickets: int = 0
    live_value: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    moving: list[Mismatch] = field(default_factory=list)
    """What does not agree because it is on its way, as far as anybody can tell."""
    doubtful: list[str] = field(default_factory=list)
    """Intents whose charges do not agree: the provider's list may lag behind its books."""

    @property
    def difference(self) -> int:
        """What cannot be explained: the sum of all mismatches, each without its sign."""
        return sum(abs(mismatch.difference) for mismatch in self.mismatches)


def compare(captured: Iterable[Captured], sales: Iterable[Sale]) -> Comparison:
    """Compare all that the provider captured with all that was sold.

    Only the provider's charges are held at once; sales may be a stream. A charge in another currency than its order's
    is a stranger.
    """
    comparison = Comparison()
    strangers = {(charge.intent_id or charge.charge_id, charge.currency): charge for charge in captured}
    for charge in strangers.values():
        comparison.provider += charge.money
    for sale in sales:
        _add(comparison, sale, strangers)
    for charge in strangers.values():
        comparison.mismatches.extend(_compare_charge(None, None, charge))
    return comparison


def _add(comparison: Comparison, sale: Sale, strangers: dict[tuple[str, str], Captured]) -> None:
    """Add an order to the totals, and what does not agree to the mismatches; its charges are no strangers any more."""
    money = Money()
    found: list[Mismatch] = []
    for booked in sale.charges:
        entry, unsplit_fee = _comparable(booked)
        captured = strangers.pop((booked.intent_id or booked.charge_id or "", sale.currency), None)
        differing = list(_compare_charge(sale, entry, captured))
        if differing and booked.intent_id is not None:
            comparison.doubtful.append(booked.intent_id)
        found += differing
        money += entry.money
        comparison.unsplit_fees += unsplit_fee
    found += _compare_tickets(sale, money)
    (comparison.moving if sale.is_moving else comparison.mismatches).extend(found)
    comparison.ledger += money
    comparison.live_tickets += sale.seats.live
    comparison.live_value += sale.seats.live_value


def _comparable(booked: Booked) -> tuple[Booked, int]:
    """Return a charge with the fee that the provider should know, and the fee that it does not know."""
    if booked.is_split:
        return booked, 0
    return replace(booked, money=replace(booked.money, fees=0)), booked.money.fees


def _compare_charge(sale: Sale | None, booked: Booked | None, captured: Captured | None) -> Iterator[Mismatch]:
    theirs = captured.money if captured else Money()
    ours = booked.money if booked else Money()
    charge_id = captured.charge_id if captured else None
    if charge_id is None and booked is not None:
        charge_id = booked.charge_id or booked.intent_id
    pairs = (
        (_kind_of_charge(theirs, ours), theirs.charged, ours.charged),
        (MismatchKind.FEE, theirs.fees, ours.fees),
        (MismatchKind.REFUNDED, theirs.refunded, ours.refunded),
        (MismatchKind.DISPUTED, theirs.disputed, ours.disputed),
    )
    order_id, number = (sale.order_id, sale.order_number) if sale else (None, None)
    for kind, provider, ledger in pairs:
        if provider != ledger:
            yield Mismatch(kind, order_id, number, charge_id, provider=provider, ledger=ledger)


def _kind_of_charge(theirs: Money, ours: Money) -> MismatchKind:
    if not ours.charged:
        return MismatchKind.MISSING_IN_LEDGER
    return MismatchKind.AMOUNT if theirs.charged else MismatchKind.MISSING_AT_PROVIDER


def _compare_tickets(sale: Sale, money: Money) -> Iterator[Mismatch]:
    """Ask whether every payment has its tickets, and every ticket its payment.

    Right are: a part of the money refunded and all tickets kept, tickets that were used before they were refunded, and
    tickets that a dispute took the money of, as long as it blocks them.
    """
    found = _find_tickets_fault(sale.total, sale.seats, money)
    if found is not None:
        kind, ledger, tickets = found
        yield Mismatch(kind, sale.order_id, sale.order_number, None, ledger=ledger, tickets=tickets)


def _find_tickets_fault(total: int, seats: Seats, money: Money) -> tuple[MismatchKind, int, int] | None:
    if seats.issued > seats.bought:
        return MismatchKind.TICKETS_WITHOUT_PAYMENT, seats.bought, seats.issued
    if money.kept > 0:
        return _find_fault_of_paid(total, seats, money)
    unpaid = seats.valid
    if money.disputed <= 0:
        unpaid += seats.blocked
    if money.charged <= 0:
        unpaid += seats.used
    return (MismatchKind.TICKETS_WITHOUT_PAYMENT, money.kept, unpaid) if unpaid else None


def _find_fault_of_paid(total: int, seats: Seats, money: Money) -> tuple[MismatchKind, int, int] | None:
    if seats.issued < seats.bought:
        return MismatchKind.PAID_WITHOUT_TICKETS, seats.bought, seats.issued
    if not seats.live_value:
        return MismatchKind.PAID_WITHOUT_TICKETS, money.kept, 0
    if money.kept > total:
        return MismatchKind.PAID_WITHOUT_TICKETS, money.kept, total
    if money.charged < total:
        return MismatchKind.TICKETS_WITHOUT_PAYMENT, money.charged, total
    if seats.refunded and money.refunded <= 0 and money.disputed <= 0:
        return MismatchKind.TICKETS_WITHOUT_REFUND, money.refunded, seats.refunded
    return None
