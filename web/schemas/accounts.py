"""Bodies of accounts, log-ins and the users that an admin sees."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from domain.rules.passwords import LENGTH_MAX, LENGTH_MIN
from domain.rules.states import UserRole
from web.schemas.base import EmailAddress, Line, Phone, RequestBody, ResponseBody

NewPassword = Annotated[
    str,
    StringConstraints(min_length=LENGTH_MIN, max_length=LENGTH_MAX),
    Field(description="Nothing that everybody tries first, and not your address."),
]
AnyPassword = Annotated[str, StringConstraints(min_length=1, max_length=LENGTH_MAX)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=2000)]

_USER: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "email": "ada@example.com",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "phone": "+44 20 7946 0018",
    "role": "user",
    "email_verified": False,
    "created_at": "2026-03-01T09:30:00Z",
}


class RegisterRequest(RequestBody):
    """A new account; its role is always `user`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "email": "ada@example.com",
                    "password": "a train of nine elephants",
                    "first_name": "Ada",
                    "last_name": "Lovelace",
                }
            ]
        }
    )

    email: EmailAddress
    password: NewPassword
    first_name: Line
    last_name: Line
    phone: Phone | None = None


class LogInRequest(RequestBody):
    """An address and its password."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "ada@example.com", "password": "a train of nine elephants"}]}
    )

    email: EmailAddress
    password: AnyPassword


class RefreshRequest(RequestBody):
    """The refresh token, which works once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"refresh_token": "eyJhbGciOi…"}]})

    refresh_token: Token


class EditProfileRequest(RequestBody):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"first_name": "Augusta", "phone": None}]})

    first_name: Line = Field(default_factory=str)
    last_name: Line = Field(default_factory=str)
    phone: Phone | None = None


class TokenRequest(RequestBody):
    """The token of a link in a mail."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"token": "q2vJ8mB1nX0cY7dS5fG3hK9lP4wR6tZ2aE8uI0oQ1xM"}]}
    )

    token: Token


class ForgotPasswordRequest(RequestBody):
    """The address that the link goes to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "ada@example.com"}]})

    email: EmailAddress


class ResetPasswordRequest(RequestBody):
    """The token of the link, and the new password."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"token": "q2vJ8mB1nX0cY7dS5fG3hK9lP4wR6tZ2aE8uI0oQ1xM", "password": "eleven blue umbrellas"}]
        }
    )

    token: Token
    password: NewPassword


class UserBody(ResponseBody):
    """An account, as its owner sees it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_USER]})

    id: UUID
    email: str
    first_name: str
    last_name: str
    phone: str | None
    role: UserRole
    email_verified: bool
    created_at: datetime


class TokensBody(ResponseBody):
    """A log-in. Keep the refresh token secret; a used one ends the log-in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOi…",
                    "refresh_token": "eyJhbGciOi…",
                    "token_type": "Bearer",
                    "expires_in": 900,
                    "refresh_expires_in": 604800,
                    "user": _USER,
                }
            ]
        }
    )

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 the scheme's name
    expires_in: Annotated[int, Field(description="Seconds until the access token expires.")]
    refresh_expires_in: Annotated[int, Field(description="Seconds until the refresh token expires.")]
    user: UserBody


class AcceptedBody(ResponseBody):
    """Something will happen, or nothing needs to; the answer is the same."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"detail": "If there is such an account, a mail is under way."}]}
    )

    detail: str
