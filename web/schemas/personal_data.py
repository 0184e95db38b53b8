"""Bodies of what is held about a person, and of the request to forget it."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from web.schemas.accounts import AnyPassword
from web.schemas.base import RequestBody, ResponseBody


class EraseMeRequest(RequestBody):
    """The proof that it is you who asks."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "a train of nine elephants"}]})

    password: AnyPassword


class PersonalDataBody(ResponseBody):
    """All that is held about a person."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
                    "exported_at": "2026-03-01T09:30:00Z",
                    "tables": {
                        "users": [
                            {
                                "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
                                "email": "ada@example.com",
                                "password_hash": "(hidden)",
                                "first_name": "Ada",
                                "last_name": "Lovelace",
                            }
                        ],
                        "orders": [],
                    },
                }
            ]
        }
    )

    user_id: UUID
    exported_at: datetime
    tables: Annotated[
        dict[str, list[dict[str, Any]]], Field(description="Rows as they are stored, by the table that holds them.")
    ]
