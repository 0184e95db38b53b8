from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from domain.rules.identifiers import first_id_of

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59), timezones=st.just(UTC))  # noqa: DTZ001


def test_ids_of_now_lie_between_a_moment_before_and_one_after():
    now = datetime.now(UTC)
    assert first_id_of(now) <= uuid7() < first_id_of(now, timedelta(minutes=1))


@given(earlier=MOMENTS, later=MOMENTS)
def test_ids_are_in_the_order_of_their_moments(earlier, later):
    earlier, later = sorted((earlier, later))
    assert first_id_of(earlier) <= first_id_of(later)
    assert first_id_of(later).version == 7


def test_no_shift_leaves_the_range():
    assert first_id_of(datetime(1970, 1, 1, tzinfo=UTC), -timedelta(hours=1)).version == 7
    assert first_id_of(datetime(9999, 12, 31, 23, tzinfo=UTC), timedelta(hours=1)).version == 7
