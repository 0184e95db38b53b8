"""Bodies of the mail outbox."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from domain.models import EmailNotification
from domain.redaction import without_secrets
from domain.rules.states import MailStatus
from web.paging import PageArguments
from web.schemas.base import EmailAddress, PathArguments, ResponseBody

_MAIL: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "template": "order_confirmed",
    "status": "bounced",
    "recipient": "ada@example.com",
    "recipient_name": "Ada Lovelace",
    "subject": "Your tickets for Harbour Concert",
    "user_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1e",
    "order_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1f",
    "attempts": 1,
    "next_attempt_at": None,
    "created_at": "2026-03-01T09:30:00Z",
    "sent_at": "2026-03-01T09:30:01Z",
    "delivered_at": None,
    "opened_at": None,
    "clicked_at": None,
    "bounced_at": "2026-03-01T09:30:04Z",
    "error": "550 5.1.1 The mailbox does not exist",
}


class OutboxMailPath(PathArguments):
    """Which mail."""

    mail_id: UUID


class OutboxArguments(PageArguments):
    """Which mails to list; what is left out does not narrow the search."""

    status: MailStatus | None = None
    template: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,60}$")] | None,
        Field(description="Which letter, such as `order_confirmed`."),
    ] = None
    recipient: Annotated[EmailAddress | None, Field(description="The whole address, in any case.")] = None
    order_id: UUID | None = None


class ListedMailBody(ResponseBody):
    """A mail, and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MAIL]})

    id: UUID
    template: str
    status: MailStatus
    recipient: str
    recipient_name: str
    subject: Annotated[str | None, Field(description="As sent; null before.")]
    user_id: UUID | None
    order_id: UUID | None
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    bounced_at: datetime | None
    error: str | None


class OutboxMailBody(ListedMailBody):
    """A mail with what its template was given."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_MAIL,
                    "purpose": "order_confirmed:0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1f",
                    "provider_message_id": "14c5d75ce93.dfd.64b469",
                    "context": {},
                }
            ]
        }
    )

    purpose: str
    provider_message_id: str | None
    context: Annotated[dict[str, Any], Field(description="What no other row says; secrets in it read `(hidden)`.")]

    @classmethod
    def of(cls, mail: EmailNotification) -> Self:
        """Return what is shown of a mail."""
        columns = {name: getattr(mail, name) for name in cls.model_fields}
        return cls.model_validate({**columns, "context": without_secrets(mail.context)})
