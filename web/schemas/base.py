"""What request and response bodies are made of: base models, and the bounded types of their fields.

Bodies of single nouns live in the file of the noun.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import to_json

INT32_MAX = 2**31 - 1
_FIRST_YEAR, _LAST_YEAR = 1970, 9999


class ResponseBody(BaseModel):
    """What we answer; reads its fields from rows as well as from dictionaries."""

    model_config = ConfigDict(defer_build=True, from_attributes=True, extra="forbid")


class RequestBody(BaseModel):
    """What a client sends: JSON's own types without conversions, and no field that we do not know."""

    model_config = ConfigDict(defer_build=True, extra="forbid", strict=True, frozen=True)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate parsed JSON by the rules of JSON: only there may a strict UUID or date be a text.

        flask-openapi hands over nothing else; how deep it is nested is bounded in `request_bodies.py`.
        """
        return cls.model_validate_json(to_json(obj), **options)


class QueryArguments(BaseModel):
    """What stands behind the question mark: texts, converted; no argument that we do not know."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)


class PathArguments(BaseModel):
    """Parts of the path; `<uuid:…>` in the rule has already turned what is malformed into 404."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)


def _refuse_controls(value: str, allowed: str) -> str:
    # PostgreSQL stores no NUL, and no name or title needs the others; C1 controls hide in terminals and mails.
    if any((ord(letter) < 32 or 127 <= ord(letter) < 160) and letter not in allowed for letter in value):  # noqa: PLR2004 code points
        raise ValueError("Control characters are not allowed")
    return value


def _one_line(value: str) -> str:
    return _refuse_controls(value, "")


def _many_lines(value: str) -> str:
    return _refuse_controls(value, "\n\r\t")


def _within_years(value: datetime) -> datetime:
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"The year must be between {_FIRST_YEAR} and {_LAST_YEAR}")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"The year must be between {_FIRST_YEAR} and {_LAST_YEAR}") from None


def _address(value: str) -> str:
    try:
        return validate_email(value, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(f"This is not an e-mail address. {error}") from None


def _https_address(value: str) -> str:
    if not value.lower().startswith(("https://", "http://")) or any(letter.isspace() for letter in value):
        raise ValueError("A web address begins with https:// or http:// and has no spaces")
    return value


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)]
"""A name or a title: one line, trimmed, not empty."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000), AfterValidator(_many_lines)]
"""A description: many lines, trimmed."""
SearchWords = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)
]
"""What a person types into a search field."""
DeskWords = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200), AfterValidator(_one_line)
]
"""The same where only an index can answer: three letters make the first trigram."""
EmailAddress = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=254),
    AfterValidator(_one_line),
    AfterValidator(_address),
    WithJsonSchema({"type": "string", "format": "email", "minLength": 3, "maxLength": 254}),
]
"""An address that mail can be sent to (RFC 5321: 254 characters); only its domain is made lower case."""
WebAddress = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=2000),
    AfterValidator(_one_line),
    AfterValidator(_https_address),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": 2000}),
]
Phone = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^\+?[0-9 ()./-]{5,32}$")]
CountryCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""
Moment = Annotated[AwareDatetime, AfterValidator(_within_years)]
"""A point in time with its offset from UTC (RFC 3339), turned to UTC."""
Count = Annotated[int, Field(ge=0, le=INT32_MAX)]
PositiveCount = Annotated[int, Field(ge=1, le=INT32_MAX)]
BasisPoints = Annotated[int, Field(ge=0, le=10_000)]
