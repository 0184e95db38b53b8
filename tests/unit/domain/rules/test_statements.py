from collections import Counter
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.statements import Booked, Captured, MismatchKind, Money, Sale, Seats, compare

AMOUNTS = {
    MismatchKind.MISSING_IN_LEDGER: "charged",
    MismatchKind.MISSING_AT_PROVIDER: "charged",
    MismatchKind.AMOUNT: "charged",
    MismatchKind.FEE: "fees",
    MismatchKind.REFUNDED: "refunded",
    MismatchKind.DISPUTED: "disputed",
}


def money_of(total, fee, state):
    part = total // 2
    return {
        "paid": Money(total, fee),
        "part refunded": Money(total, fee // 2, refunded=part),
        "refunded": Money(total, 0, refunded=total),
        "used, then refunded": Money(total, 0, refunded=total),
        "one ticket refunded": Money(total, fee // 2, refunded=part),
        "disputed": Money(total, fee, disputed=total),
    }[state]


def seats_of(subtotal, state):
    half = subtotal // 2
    became = {
        "paid": {"valid": subtotal, "live": 2},
        "part refunded": {"valid": half, "used": subtotal - half, "live": 2},
        "refunded": {"refunded": subtotal},
        "used, then refunded": {"used": half, "refunded": subtotal - half, "live": 1},
        "one ticket refunded": {"valid": half, "refunded": subtotal - half, "live": 1},
        "disputed": {"blocked": subtotal, "live": 2},
    }[state]
    return Seats(bought=subtotal, issued=subtotal, **became)


STATES = ["paid", "part refunded", "refunded", "used, then refunded", "one ticket refunded", "disputed"]


@st.composite
def worlds(draw, states=STATES):
    """Draw orders as they should be, and the provider's charges of them in an order of its own."""
    sales, captured = [], []
    for number in range(draw(st.integers(1, 8))):
        subtotal, fee = draw(st.integers(100, 100_000)), draw(st.integers(2, 50))
        is_split, state = draw(st.booleans()), draw(st.sampled_from(states))
        money = money_of(subtotal + fee, fee, state)
        booked = Booked(f"ch_{number}", f"pi_{number}", is_split, money)
        seats = seats_of(subtotal, state)
        sales.append(Sale(UUID(int=number), f"TV-{number}", "EUR", subtotal + fee, False, [booked], seats))
        theirs = money if is_split else replace(money, fees=0)
        captured.append(Captured(f"ch_{number}", f"pi_{number}", "EUR", theirs))
    return sales, draw(st.permutations(captured))


def assert_adds_up(comparison):
    found = [*comparison.mismatches, *comparison.moving]
    apart = Counter()
    for mismatch in found:
        if mismatch.kind in AMOUNTS:
            apart[AMOUNTS[mismatch.kind]] += mismatch.difference
    for name in ("charged", "fees", "refunded", "disputed"):
        assert getattr(comparison.provider, name) - getattr(comparison.ledger, name) == apart[name], name
    assert comparison.difference == sum(abs(mismatch.difference) for mismatch in comparison.mismatches)
    assert all(mismatch.difference for mismatch in found)


def kinds(comparison):
    return [mismatch.kind for mismatch in comparison.mismatches]


class TestWhatIsRight:
    @given(worlds())
    def test_a_consistent_event_has_no_difference(self, world):
        sales, captured = world
        comparison = compare(captured, iter(sales))
        assert (comparison.mismatches, comparison.moving, comparison.difference) == ([], [], 0)
        assert comparison.provider == comparison.ledger
        assert comparison.live_value == sum(sale.seats.live_value for sale in sales)
        booked = [charge.money for sale in sales for charge in sale.charges]
        assert comparison.ledger.fees + comparison.unsplit_fees == sum(money.fees for money in booked)
        assert comparison.ledger.kept == sum(money.kept for money in booked)

    def test_free_orders_and_payments_that_failed_are_nothing_to_explain(self):
        free = Sale(UUID(int=1), "TV-1", "EUR", 0, False, [], Seats(live=3))
        failed = Booked(None, "pi_1", False, Money())
        unpaid = Sale(UUID(int=2), "TV-2", "EUR", 4200, False, [failed], Seats())
        comparison = compare([], [free, unpaid])
        assert (comparison.difference, comparison.live_tickets) == (0, 3)

    def test_the_free_ticket_of_an_order_outlives_the_refund_of_its_paid_one(self):
        booked = Booked("ch_1", "pi_1", False, Money(1000, refunded=1000))
        sale = Sale(UUID(int=1), "TV-1", "EUR", 1000, False, [booked], Seats(1000, 1000, refunded=1000, live=1))
        assert compare([Captured("ch_1", "pi_1", "EUR", Money(1000, refunded=1000))], [sale]).difference == 0


CORRUPTIONS = {
    "the provider lost a charge": MismatchKind.MISSING_AT_PROVIDER,
    "the ledger lost a charge": MismatchKind.MISSING_IN_LEDGER,
    "the order is unknown": MismatchKind.MISSING_IN_LEDGER,
    "the charge has another amount": MismatchKind.AMOUNT,
    "the charge has another currency": MismatchKind.MISSING_AT_PROVIDER,
    "a refund is not in the ledger": MismatchKind.REFUNDED,
    "a refund is in the ledger only": MismatchKind.REFUNDED,
    "a fee was not taken": MismatchKind.FEE,
    "a dispute is not in the ledger": MismatchKind.DISPUTED,
    "the tickets are gone": MismatchKind.PAID_WITHOUT_TICKETS,
    "a ticket was never issued": MismatchKind.PAID_WITHOUT_TICKETS,
    "it was paid twice": MismatchKind.PAID_WITHOUT_TICKETS,
    "it was paid in part": MismatchKind.TICKETS_WITHOUT_PAYMENT,
    "a ticket too many was issued": MismatchKind.TICKETS_WITHOUT_PAYMENT,
    "the money went back, the tickets did not": MismatchKind.TICKETS_WITHOUT_PAYMENT,
    "it was refunded while the tickets are blocked": MismatchKind.TICKETS_WITHOUT_PAYMENT,
    "it is disputed and not blocked": MismatchKind.TICKETS_WITHOUT_PAYMENT,
    "nobody paid, somebody went in": MismatchKind.TICKETS_WITHOUT_PAYMENT,
    "a ticket was taken back for nothing": MismatchKind.TICKETS_WITHOUT_REFUND,
}


def corrupt(what, sale, captured):
    """Return a paid order and its charge at the provider, one of them or both not as they should be."""
    (booked,), seats, theirs = sale.charges, sale.seats, captured.money
    total = sale.total

    def ours(**changes):
        return replace(sale, charges=[replace(booked, money=replace(booked.money, **changes))])

    def at_provider(**changes):
        return replace(captured, money=replace(theirs, **changes))

    def both(**changes):
        return ours(**changes), at_provider(**changes)

    def with_seats(sale, **changes):
        return replace(sale, seats=replace(seats, **changes))

    half = seats.bought // 2
    return {
        "the provider lost a charge": lambda: (sale, None),
        "the ledger lost a charge": lambda: (replace(ours(charged=0, fees=0), seats=Seats()), captured),
        "the order is unknown": lambda: (None, captured),
        "the charge has another amount": lambda: (sale, at_provider(charged=total + 1)),
        "the charge has another currency": lambda: (sale, replace(captured, currency="USD")),
        "a refund is not in the ledger": lambda: (sale, at_provider(refunded=1)),
        "a refund is in the ledger only": lambda: (ours(refunded=1), captured),
        "a fee was not taken": lambda: (
            replace(sale, charges=[replace(booked, is_split=True)]),
            at_provider(fees=booked.money.fees - 1),
        ),
        "a dispute is not in the ledger": lambda: (sale, at_provider(disputed=total)),
        "the tickets are gone": lambda: (with_seats(sale, valid=0, live=0), captured),
        "a ticket was never issued": lambda: (with_seats(sale, valid=half, issued=half), captured),
        "it was paid twice": lambda: both(charged=2 * total),
        "it was paid in part": lambda: both(charged=total - 1),
        "a ticket too many was issued": lambda: (with_seats(sale, issued=seats.issued + 1), captured),
        "the money went back, the tickets did not": lambda: both(refunded=total),
        "it was refunded while the tickets are blocked": lambda: (
            with_seats(ours(refunded=total), valid=0, blocked=seats.valid),
            at_provider(refunded=total),
        ),
        "it is disputed and not blocked": lambda: both(disputed=total),
        "nobody paid, somebody went in": lambda: (
            with_seats(ours(charged=0, fees=0), valid=0, used=seats.valid),
            None,
        ),
        "a ticket was taken back for nothing": lambda: (
            with_seats(sale, valid=half, refunded=seats.valid - half),
            captured,
        ),
    }[what]()


class TestWhatIsWrong:
    @pytest.mark.parametrize("what", CORRUPTIONS)
    @given(others=worlds(), order=worlds(states=["paid"]))
    def test_one_corruption_among_others_is_found_and_named(self, what, others, order):
        sales, captured = others
        good_sale, good_charge = order[0][0], next(charge for charge in order[1] if charge.intent_id == "pi_0")
        # The orders around it are others than its own.
        known = replace(good_sale.charges[0], charge_id="ch_x", intent_id="pi_x")
        good_sale = replace(good_sale, order_id=UUID(int=99), order_number="TV-x", charges=[known])
        bad_sale, bad_charge = corrupt(what, good_sale, replace(good_charge, charge_id="ch_x", intent_id="pi_x"))
        comparison = compare(
            [*captured, *([bad_charge] if bad_charge else [])], [*sales, *([bad_sale] if bad_sale else [])]
        )
        assert CORRUPTIONS[what] in kinds(comparison)
        assert comparison.difference > 0
        assert {mismatch.charge_id for mismatch in comparison.mismatches} <= {"ch_x", None}
        if bad_sale:
            assert "TV-x" in {mismatch.order_number for mismatch in comparison.mismatches}
        assert_adds_up(comparison)

    @given(worlds(), st.data())
    def test_the_parts_add_up_whatever_the_numbers_are(self, world, data):
        numbers = st.integers(0, 1000)
        sales, captured = world
        sales = [
            replace(
                sale,
                is_moving=data.draw(st.booleans()),
                charges=[
                    replace(charge, money=data.draw(st.builds(Money, numbers, numbers, numbers, numbers)))
                    for charge in sale.charges
                ],
            )
            for sale in sales
        ]
        kept = data.draw(st.lists(st.sampled_from(captured), unique=True))
        assert_adds_up(compare(kept, sales))

    def test_what_moves_is_told_apart_and_is_no_difference(self):
        booked = Booked("ch_1", "pi_1", False, Money(1000))
        sale = Sale(UUID(int=1), "TV-1", "EUR", 1000, True, [booked], Seats(1000, 1000, valid=1000, live=1))
        comparison = compare([Captured("ch_1", "pi_1", "EUR", Money(1000, refunded=1000))], [sale])
        assert (comparison.difference, comparison.mismatches) == (0, [])
        (moving,) = comparison.moving
        assert (moving.kind, moving.provider, moving.ledger, moving.difference) == (
            MismatchKind.REFUNDED,
            1000,
            0,
            1000,
        )
        assert_adds_up(comparison)

    def test_a_difference_has_its_sign_and_counts_without_it(self):
        booked = Booked("ch_1", "pi_1", False, Money(1000, refunded=300))
        sale = Sale(UUID(int=1), "TV-1", "EUR", 1000, False, [booked], Seats(1000, 1000, valid=1000, live=1))
        comparison = compare([Captured("ch_1", "pi_1", "EUR", Money(1000))], [sale])
        assert [mismatch.difference for mismatch in comparison.mismatches] == [-300]
        assert comparison.difference == 300
