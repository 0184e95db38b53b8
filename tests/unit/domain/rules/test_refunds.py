from hypothesis import given
from hypothesis import strategies as st

from domain.rules.refunds import returned_fee


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=12),
    st.integers(0, 10_000),
)
def test_the_parts_of_a_whole_refund_give_back_exactly_the_fee(parts, fee):
    total = sum(parts)
    returned, shares = 0, []
    for part in parts:
        shares.append(returned_fee(fee, total, before=returned, after=returned + part))
        returned += part
    assert sum(shares) == fee
    assert all(share >= 0 for share in shares)


def test_half_a_minor_unit_is_rounded_up():
    assert returned_fee(1, 2, before=0, after=1) == 1
    assert returned_fee(1, 2, before=1, after=2) == 0
