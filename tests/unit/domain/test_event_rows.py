import pytest

from domain.event_rows import order_number


@pytest.mark.parametrize("words", ["42", "00000042", "TV-42", "tv-00000042"])
def test_a_number_is_understood_as_people_write_it(words):
    assert order_number(words) == "TV-00000042"


def test_a_long_number_is_not_cut():
    assert order_number("TV-1234567890") == "TV-1234567890"


@pytest.mark.parametrize("words", ["ada", "TV-", "TV-4a", "4 2", "TV-٤٢", "1" * 20])
def test_anything_else_is_no_number(words):
    assert order_number(words) is None
