from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.rules.allocation import REASONS, Claim, Kind, Verdict, allocate
from domain.rules.codes import Allowance, Limits, spell
from domain.rules.states import OrderReason

PEOPLE = [UUID(int=number) for number in range(4)]
CODE = UUID(int=99)

numbers = st.integers(1, 8)
limits = st.builds(Limits, st.none() | numbers, st.none() | numbers, st.none() | numbers)
wishes = st.lists(st.tuples(st.integers(1, 30), numbers), unique_by=lambda wish: wish[0], max_size=20)


def line_of(wanted, first_id):
    """Return a tier's line; an order is of one person, whatever the tier."""
    return [
        Claim(number, Kind.ORDER, UUID(int=first_id + number), PEOPLE[number % 4], quantity, CODE)
        for number, quantity in wanted
    ]


def served(decisions):
    return [decision.claim for decision in decisions if decision.verdict is Verdict.SERVED]


@given(limits, wishes, wishes)
def test_two_tiers_together_take_no_more_than_a_code_allows(limit, one, other):
    code = Allowance(limit, uses=0, tickets=0)
    taken = []
    for first_id, wanted in ((1000, one), (2000, other)):
        taken += served(allocate(line_of(wanted, first_id), 1_000, allowances={CODE: code}))
    assert code.uses == len({claim.sequence for claim in taken}) <= (limit.max_uses or 60)
    assert code.tickets == sum(claim.quantity for claim in taken) <= (limit.max_tickets or 1_000)
    for person in PEOPLE:
        has = sum(claim.quantity for claim in taken if claim.person == person)
        assert has == code.by_person.get(person, 0) <= (limit.max_per_person or 1_000)


@given(limits, wishes)
def test_a_refusal_is_one_that_the_code_would_repeat(limit, wanted):
    code = Allowance(limit, uses=0, tickets=0)
    decisions = allocate(line_of(wanted, 1000), 1_000, allowances={CODE: code})
    # What was given since can only have made it tighter.
    for decision in decisions:
        if decision.verdict is Verdict.CODE_EXHAUSTED:
            assert not code.admits(decision.claim.sequence, decision.claim.person, decision.claim.quantity)
            assert REASONS[decision.verdict] is OrderReason.LIMIT_EXCEEDED


@given(limits, wishes)
def test_what_is_given_back_is_there_again(limit, wanted):
    code = Allowance(limit, uses=0, tickets=0)
    for claim in served(allocate(line_of(wanted, 1000), 1_000, allowances={CODE: code})):
        code.take(claim.sequence, claim.person, -claim.quantity)
    assert (code.uses, code.tickets, set(code.by_person.values()) - {0}) == (0, 0, set())


def test_an_order_uses_its_code_once_and_its_tickets_all_count():
    code = Allowance(Limits(max_uses=1, max_tickets=3), uses=0, tickets=0)
    first, second = (allocate(line_of([(7, 1)], id_), 9, allowances={CODE: code}) for id_ in (1000, 2000))
    assert (len(served(first)), len(served(second)), code.uses, code.tickets) == (1, 1, 1, 2)
    [refused] = allocate(line_of([(8, 1)], 1000), 9, allowances={CODE: code})
    assert refused.verdict is Verdict.CODE_EXHAUSTED


def test_who_has_no_code_is_not_asked_for_one():
    claim = Claim(1, Kind.ORDER, UUID(int=1), PEOPLE[0], 1)
    [decision] = allocate([claim], 1, allowances={CODE: Allowance(Limits(max_uses=1), uses=1, tickets=1)})
    assert decision.verdict is Verdict.SERVED


def test_however_it_was_typed():
    assert spell(" harbour-10 ") == "HARBOUR-10"
