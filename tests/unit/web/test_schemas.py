from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from web.schemas.base import (
    BasisPoints,
    CountryCode,
    EmailAddress,
    Line,
    Moment,
    Phone,
    PositiveCount,
    RequestBody,
    Text,
    WebAddress,
)


class Colour(StrEnum):
    RED = "red"


class Everything(RequestBody):
    line: Line = "x"
    text: Text = ""
    email: EmailAddress = "a@example.com"
    web: WebAddress = "https://example.com"
    phone: Phone = "12345"
    country: CountryCode = "DE"
    moment: Moment = datetime(2026, 1, 1, tzinfo=UTC)
    count: PositiveCount = 1
    rate: BasisPoints = 0
    flag: bool = False
    identity: UUID = UUID(int=0)
    colour: Colour = Colour.RED


def read(**values):
    return Everything.model_validate(values)


@pytest.mark.parametrize(
    ("field", "sent", "kept"),
    [
        ("line", "  Zoë \u2013 東京  ", "Zoë \u2013 東京"),
        ("text", "two\nlines\tand a tab\r\n", "two\nlines\tand a tab"),
        ("text", "", ""),
        ("email", " Ada@EXAMPLE.com ", "Ada@example.com"),
        ("moment", "2026-03-01T10:00:00+02:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("moment", "2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("identity", "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d", UUID("0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d")),
        ("colour", "red", Colour.RED),
        ("count", 2**31 - 1, 2**31 - 1),
    ],
)
def test_good_values_are_kept(field, sent, kept):
    assert getattr(read(**{field: sent}), field) == kept


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("line", ""),
        ("line", "two\nlines"),
        ("line", "nul\x00"),
        ("line", "escape\x1b[31m"),
        ("line", "c1\x9b"),
        ("line", "x" * 201),
        ("line", 5),
        ("text", "nul\x00"),
        ("text", "x" * 10_001),
        ("email", "a@localhost"),
        ("email", "a@example.com\r\nBcc: b@example.com"),
        ("web", "javascript:alert(1)"),
        ("web", "https://exa mple.com"),
        ("web", "//example.com"),
        ("phone", "call me"),
        ("country", "de"),
        ("country", "DE\n"),
        ("moment", "2026-03-01T10:00:00"),
        ("moment", "2026-03-01"),
        ("moment", 1_767_225_600),
        ("moment", "1969-12-31T23:59:59Z"),
        ("moment", "0001-01-01T00:00:00+14:00"),
        ("moment", "9999-12-31T23:59:59-14:00"),
        ("count", "1"),
        ("count", 1.0),
        ("count", True),
        ("count", 0),
        ("count", 2**31),
        ("rate", -1),
        ("rate", 10**20),
        ("flag", "yes"),
        ("flag", 1),
        ("identity", "not-a-uuid"),
        ("identity", 7),
        ("colour", "blue"),
        ("unknown", 1),
        ("line", None),
        ("line", ["x"]),
    ],
)
def test_bad_values_are_refused_at_their_field(field, sent):
    with pytest.raises(ValidationError) as refused:
        read(**{field: sent})
    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


@given(st.text())
def test_no_line_that_is_accepted_could_hurt_a_row_or_a_header(text):
    try:
        line = read(line=text).line
    except ValidationError:
        return
    assert 0 < len(line) <= 200
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)
