from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from domain.event_changes import merge

VALUES = st.sampled_from(["A", "B", "C"])


@given(st.lists(VALUES, min_size=2, max_size=6))
def test_many_edits_are_told_as_one_from_the_first_value_to_the_last(values):
    changes = {}
    for old, new in pairwise(values):
        if old != new:
            changes = merge(changes, {"title": [old, new]})
    first, last = values[0], values[-1]
    assert changes == ({} if first == last else {"title": [first, last]})


def test_fields_that_an_edit_leaves_alone_stay_told():
    assert merge({"title": ["A", "B"]}, {"city": [None, "Oslo"]}) == {"title": ["A", "B"], "city": [None, "Oslo"]}


def test_a_refund_that_is_no_longer_granted_is_no_news():
    assert merge({}, {"refund_granted_until": ["2027-01-01T00:00:00+00:00", None]}) == {}
