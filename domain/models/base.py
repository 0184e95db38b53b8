"""The declarative base: naming convention, column types, and the columns that many tables share."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Enum, FetchedValue, MetaData, Sequence, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

JSONObject = dict[str, Any]
Amount = Annotated[int, mapped_column(BigInteger)]
"""Integer minor units of the row's or its order's currency."""


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 SQLAlchemy reads it from the class
        str: Text,
        UUID: Uuid,
        datetime: DateTime(timezone=True),
        JSONObject: JSONB,
        list[JSONObject]: JSONB,
    }
    # What triggers and defaults write comes back with the statement itself, so that no object is stale after a flush.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 SQLAlchemy reads it from the class


SALE_SEQUENCE = Sequence("sale_sequence", metadata=Base.metadata, cache=1)
"""Numbers orders and waitlist entries in one line; `cache=1` because fairness is its order."""


class Identified:
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)


class Timestamped:
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), server_onupdate=FetchedValue())
    """Kept by a trigger, so that set-based statements cannot forget it."""


class SoftDeleted:
    deleted_at: Mapped[datetime | None]

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None


def value_enum(enum: type[StrEnum], *, checked: bool = True) -> Enum:
    """Return the column type of a closed list: text with a CHECK, so that a new value is never an ALTER TYPE.

    A column that allows only a part of the list brings its own CHECK instead.
    """
    return Enum(
        enum,
        native_enum=False,
        length=32,
        create_constraint=checked,
        name=_snake(enum.__name__),
        values_callable=lambda members: [member.value for member in members],
    )


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def utc_now() -> datetime:
    """Return the current time for the questions that models answer about themselves."""
    return datetime.now(UTC)


EMPTY_OBJECT = text("'{}'::jsonb")
