"""Changing a row field by field, and keeping both sides of each change for the audit log."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from domain.models import Base
from domain.models.base import JSONObject


def change(entity: Base, values: Mapping[str, Any]) -> tuple[JSONObject, JSONObject]:
    """Set the values that differ from the entity's, and return the old and the new ones as JSON."""
    differing = {name: value for name, value in values.items() if getattr(entity, name) != value}
    old = as_json({name: getattr(entity, name) for name in differing})
    for name, value in differing.items():
        setattr(entity, name, value)
    return old, as_json(differing)


def as_json(values: Mapping[str, Any]) -> JSONObject:
    """Return the values in JSON's types: times in ISO 8601, numbers that are not whole as text."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case UUID() | Decimal() | StrEnum():
            return str(value)
        case tuple() | list():
            return [_plain(part) for part in value]
        case _:
            return value
