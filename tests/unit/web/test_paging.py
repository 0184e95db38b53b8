from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidError
from web.paging import PageArguments, cut, decode_cursor, encode_cursor

moments = st.datetimes(timezones=st.just(UTC))
texts = st.text().filter(lambda text: "\x00" not in text and text.isprintable())


@given(st.uuids(), moments, texts, st.integers(-(2**63), 2**63 - 1))
def test_a_cursor_comes_back_as_the_key_that_it_was(identity, moment, word, number):
    cursor = encode_cursor(identity, moment, word, number)
    assert decode_cursor(cursor, UUID, datetime, str, int) == (identity, moment, word, number)
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&? ")


@given(st.text(max_size=200))
def test_whatever_is_no_cursor_is_refused_with_its_pointer(cursor):
    with pytest.raises(InvalidError) as refused:
        decode_cursor(cursor, UUID, datetime)
    assert refused.value.pointer == "/cursor"


@pytest.mark.parametrize(
    ("key", "types"),
    [
        (("not a uuid",), (UUID,)),
        ((1,), (UUID,)),
        ((True,), (int,)),
        ((2**63,), (int,)),
        (("a\x00",), (str,)),
        (("2026-01-01T00:00:00",), (datetime,)),
        (("yesterday",), (datetime,)),
        (("a", "b"), (str,)),
        ((), (str,)),
    ],
)
def test_a_cursor_of_another_list_is_refused(key, types):
    with pytest.raises(InvalidError):
        decode_cursor(encode_cursor(*key), *types)


def test_without_a_cursor_the_list_starts_at_its_beginning():
    assert PageArguments().after(UUID) is None
    assert PageArguments().after_id() is None


@pytest.mark.parametrize(
    ("rows", "page", "more"), [([], [], False), ([1, 2], [1, 2], False), ([1, 2, 3], [1, 2], True)]
)
def test_a_page_names_the_next_one_only_if_there_is_one(rows, page, more):
    cut_rows, cursor = cut(rows, 2, lambda row: (row,))
    assert cut_rows == page
    assert (cursor is not None) is more
    if more:
        assert decode_cursor(cursor, int) == (2,)
