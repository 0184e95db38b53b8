from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.sharing import find_part

MEMBERS = (11, 22, 33, 44)


def loads_of(owners, members):
    return Counter({member: owners.count(member) for member in members})


def parts(owners, members):
    loads = loads_of(owners, members)
    return {member: find_part(owners, loads, member) for member in members}


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        ([], {11: 0, 22: 0}),
        ([None], {11: 1, 22: 0}),
        ([22], {11: 0, 22: 1}),
        ([11, 11, 11, 11], {11: 2, 22: 2}),
        ([22, 22, 22, 11, 11], {11: 2, 22: 3}),
        ([22, 22, 22, 22, None], {11: 2, 22: 3}),
    ],
)
def test_parts_are_even_and_the_larger_ones_stay_where_they_are(owners, expected):
    assert parts(owners, (11, 22)) == expected


def test_a_member_alone_owns_everything():
    assert find_part([None, 11, None], {11: 1}, 11) == 3


def test_of_equals_the_one_with_less_to_do_comes_first():
    loads = {11: 5, 22: 2}
    assert [find_part([None], loads, member) for member in (11, 22)] == [0, 1]


@given(st.lists(st.sampled_from([None, *MEMBERS])), st.integers(1, 4))
def test_parts_add_up_and_differ_by_one_at_most(owners, size):
    members = MEMBERS[:size]
    shares = parts([owner if owner in members else None for owner in owners], members).values()
    assert sum(shares) == len(owners)
    assert max(shares) - min(shares) <= 1


@st.composite
def situations(draw):
    members = MEMBERS[: draw(st.integers(1, 4))]
    owners = draw(st.lists(st.sampled_from([None, *members]), max_size=20))
    turns = draw(st.lists(st.sampled_from(members), max_size=30))
    return members, owners, [*turns, *members, *members, *members]


@given(situations())
def test_whoever_looks_when_they_all_come_to_rest_after_three_looks_and_no_tier_moves_twice(situation):
    members, owners, turns = situation
    moves = Counter()
    for member in turns:
        change = find_part(owners, loads_of(owners, members), member) - owners.count(member)
        for index, owner in enumerate(owners):
            if change > 0 and owner is None:
                owners[index] = member
                moves[index] += 1
                change -= 1
            elif change < 0 and owner == member:
                owners[index] = None
                change += 1
    assert parts(owners, members) == loads_of(owners, members)
    assert max(moves.values(), default=0) <= 1
