"""Bodies of what admins see: users, what was deleted, and the audit log."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, IPvAnyAddress, StringConstraints

from domain.models import Event, User
from domain.rules.states import UserRole, VerificationStatus
from web.paging import PageArguments
from web.schemas.base import Moment, PathArguments, RequestBody, ResponseBody, SearchWords

_USER: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "email": "ada@example.com",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "phone": None,
    "role": "user",
    "email_verified": True,
    "email_verified_at": "2026-03-01T09:35:00Z",
    "is_active": True,
    "last_login_at": "2026-03-02T08:00:00Z",
    "created_at": "2026-03-01T09:30:00Z",
    "promoter": None,
}


class UserPath(PathArguments):
    """Which user."""

    user_id: UUID


class UserArguments(PageArguments):
    """Which users to list."""

    q: Annotated[SearchWords | None, Field(description="A part of a name or address.")] = None
    role: UserRole | None = None
    verification: Annotated[VerificationStatus | None, Field(description="Promoters whose verification is so far.")] = (
        None
    )


class ChangeUserRequest(RequestBody):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "promoter"}, {"is_active": False}]})

    role: UserRole = Field(default_factory=lambda: UserRole.USER)
    is_active: bool = Field(default_factory=bool)


class PromoterOfUserBody(ResponseBody):
    """What makes a user a promoter."""

    id: UUID
    company_name: str
    verification_status: VerificationStatus


class ManagedUserBody(ResponseBody):
    """A user, as admins see it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_USER]})

    id: UUID
    email: str
    first_name: str
    last_name: str
    phone: str | None
    role: UserRole
    email_verified: bool
    email_verified_at: datetime | None
    is_active: bool
    last_login_at: datetime | None
    created_at: datetime
    promoter: PromoterOfUserBody | None


class DeletedKind(StrEnum):
    """What may be deleted and restored."""

    USER = "user"
    EVENT = "event"


class DeletedArguments(PageArguments):
    """Which deleted things to list."""

    kind: DeletedKind


class DeletedBody(ResponseBody):
    """A thing that was deleted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "event",
                    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
                    "name": "Harbour Concert",
                    "deleted_at": "2026-03-01T09:30:00Z",
                    "is_erased": False,
                }
            ]
        }
    )

    kind: DeletedKind
    id: UUID
    name: Annotated[str, Field(description="The title of an event; the name and address of a user.")]
    deleted_at: datetime
    is_erased: Annotated[bool, Field(description="A person who was erased cannot be restored.")]

    @classmethod
    def of(cls, thing: User | Event) -> Self:
        """Return what is told about a deleted thing."""
        if isinstance(thing, User):
            kind, name, is_erased = DeletedKind.USER, f"{thing.full_name} <{thing.email}>", thing.erased_at is not None
        else:
            kind, name, is_erased = DeletedKind.EVENT, thing.title, False
        deleted_at = thing.deleted_at
        return cls.model_validate(
            {"kind": kind, "id": thing.id, "name": name, "deleted_at": deleted_at, "is_erased": is_erased}
        )


class AuditArguments(PageArguments):
    """Which entries to find; what is left out does not narrow the search."""

    actor_id: Annotated[UUID | None, Field(description="Who acted.")] = None
    subject_id: Annotated[UUID | None, Field(description="Whose personal values were changed.")] = None
    entity_type: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,40}$")] | None,
        Field(description="On what, such as `Event` or `User`."),
    ] = None
    entity_id: UUID | None = None
    action: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}\.[a-z_]{0,40}$")] | None,
        Field(description="What was done, such as `event.publish`; `event.` is whatever was done to events."),
    ] = None
    request_id: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")] | None,
        Field(description="By which request."),
    ] = None
    ip: Annotated[IPvAnyAddress | None, Field(description="From which address.")] = None
    since: Annotated[Moment | None, Field(description="From this moment on.")] = None
    until: Annotated[Moment | None, Field(description="Before this moment.")] = None


class PersonalChangeBody(ResponseBody):
    """A personal value that changed; null once its person was erased."""

    field: str
    old_value: str | None
    new_value: str | None


class AuditEntryBody(ResponseBody):
    """Who did what. Values that read `personal` are in `personal`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0199c2f0-9e21-7c3e-9b1f-2a4c6e8f0b1d",
                    "at": "2026-03-01T09:30:00Z",
                    "actor_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
                    "action": "user.update",
                    "entity_type": "User",
                    "entity_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
                    "old_data": {"first_name": "personal"},
                    "new_data": {"first_name": "personal"},
                    "personal": [{"field": "first_name", "old_value": "Ada", "new_value": "Augusta"}],
                    "ip": "192.0.2.7",
                    "user_agent": "Mozilla/5.0",
                    "request_id": "0199c2f0-9e20-7aaa-9b1f-2a4c6e8f0b1d",
                }
            ]
        }
    )

    id: UUID
    at: datetime
    actor_id: Annotated[UUID | None, Field(description="Null when the system itself acted, or a stranger.")]
    action: str
    entity_type: str
    entity_id: UUID
    old_data: dict[str, Any] | None
    new_data: dict[str, Any] | None
    personal: list[PersonalChangeBody] = Field(default_factory=list)
    ip: str | None
    user_agent: str | None
    request_id: str | None
