from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.rules.allocation import Claim, Kind, Verdict, allocate

PEOPLE = [UUID(int=number) for number in range(5)]


def order(sequence, quantity, person=PEOPLE[0]):
    return Claim(sequence, Kind.ORDER, UUID(int=sequence), person, quantity)


def entry(sequence, quantity, person=PEOPLE[1]):
    return Claim(sequence, Kind.ENTRY, UUID(int=sequence), person, quantity)


def verdicts(decisions):
    return [decision.verdict for decision in decisions]


@st.composite
def lines(draw):
    numbers = draw(st.lists(st.integers(1, 10_000), unique=True, max_size=40))
    make = st.sampled_from([order, entry])
    return [draw(make)(n, draw(st.integers(1, 6)), draw(st.sampled_from(PEOPLE))) for n in numbers]


limits = st.none() | st.integers(1, 8)


@given(lines(), st.integers(0, 60), limits, st.booleans())
def test_never_hands_out_more_than_there_is(line, available, limit, skips):
    decisions = allocate(line, available, max_per_person=limit, skips_large_groups=skips)
    assert sum(d.claim.quantity for d in decisions if d.verdict is Verdict.SERVED) <= available


@given(lines(), st.integers(0, 60), limits, st.booleans())
def test_decides_every_claim_once_in_sequence(line, available, limit, skips):
    decisions = allocate(line, available, max_per_person=limit, skips_large_groups=skips)
    assert [d.claim for d in decisions] == sorted(line, key=lambda claim: claim.sequence)
    assert all((d.verdict is Verdict.WAITS) <= (d.claim.kind is Kind.ENTRY) for d in decisions)


@given(lines(), st.integers(0, 60), limits, st.booleans())
def test_nobody_is_passed_over_who_could_have_been_served_before(line, available, limit, skips):
    decisions = allocate(line, available, max_per_person=limit, skips_large_groups=skips)
    left, taken = available, dict.fromkeys(PEOPLE, 0)
    for decision in decisions:
        claim = decision.claim
        fits_limit = limit is None or taken[claim.person] + claim.quantity <= limit
        if decision.verdict is Verdict.SERVED:
            assert claim.quantity <= left
            assert fits_limit
            left -= claim.quantity
            taken[claim.person] += claim.quantity
        elif skips:
            assert claim.quantity > left or not fits_limit


@given(lines(), st.integers(0, 60), st.integers(1, 8), st.dictionaries(st.sampled_from(PEOPLE), st.integers(0, 8)))
def test_nobody_ends_above_the_limit_per_person(line, available, limit, before):
    decisions = allocate(line, available, max_per_person=limit, already_taken=before)
    for person in PEOPLE:
        got = sum(d.claim.quantity for d in decisions if d.verdict is Verdict.SERVED and d.claim.person == person)
        assert got == 0 or before.get(person, 0) + got <= limit


@given(lines(), st.integers(0, 60), st.integers(0, 40), limits)
def test_batches_decide_as_one_long_line_would(line, available, cut, limit):
    whole = allocate(line, available, max_per_person=limit)
    ordered = sorted(line, key=lambda claim: claim.sequence)
    first = allocate(ordered[:cut], available, max_per_person=limit)
    served = [d.claim for d in first if d.verdict is Verdict.SERVED]
    taken = {person: sum(c.quantity for c in served if c.person == person) for person in PEOPLE}
    left = available - sum(claim.quantity for claim in served)
    second = allocate(ordered[cut:], left, max_per_person=limit, already_taken=taken)
    assert verdicts(first) + verdicts(second) == verdicts(whole)


def test_an_order_behind_a_larger_one_is_served_when_it_fits():
    decisions = allocate([order(1, 2), order(2, 3), order(3, 1)], 3)
    assert verdicts(decisions) == [Verdict.SERVED, Verdict.SOLD_OUT, Verdict.SERVED]


def test_a_waiting_entry_goes_before_a_later_order():
    decisions = allocate([order(9, 1), entry(4, 1)], 1)
    assert [(d.claim.kind, d.verdict) for d in decisions] == [
        (Kind.ENTRY, Verdict.SERVED),
        (Kind.ORDER, Verdict.SOLD_OUT),
    ]


def test_a_group_that_does_not_fit_holds_the_line_where_it_may_not_be_passed_over():
    line = [entry(1, 3), order(2, 1), entry(3, 1)]
    assert verdicts(allocate(line, 2, skips_large_groups=False)) == [Verdict.WAITS, Verdict.SOLD_OUT, Verdict.WAITS]
    assert verdicts(allocate(line, 2)) == [Verdict.WAITS, Verdict.SERVED, Verdict.SERVED]


def test_a_waiting_person_at_the_limit_keeps_the_place_and_holds_nobody_up():
    line = [entry(1, 2, PEOPLE[1]), order(2, 1)]
    decisions = allocate(line, 2, max_per_person=2, already_taken={PEOPLE[1]: 1}, skips_large_groups=False)
    assert verdicts(decisions) == [Verdict.WAITS, Verdict.SERVED]
