"""Bodies of the webhook inbox."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from domain.models import WebhookEvent
from domain.redaction import without_secrets
from domain.webhook_inbox import InboxStatus, status_of
from web.paging import PageArguments
from web.schemas.base import Moment, PathArguments, ResponseBody

_EVENT: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "provider": "stripe",
    "provider_event_id": "evt_1S0000000000000000000000",
    "type": "payment_intent.succeeded",
    "account": None,
    "status": "failed",
    "received_at": "2026-03-01T09:30:00Z",
    "processed_at": None,
    "attempts": 3,
    "error": "It is about an object that is not ours, or not yet.",
}


class InboxEventPath(PathArguments):
    """Which event."""

    webhook_event_id: UUID


class InboxArguments(PageArguments):
    """Which events to list; what is left out does not narrow the search."""

    provider: Literal["stripe", "sendgrid"] | None = None
    status: Annotated[
        InboxStatus | None,
        Field(description="`failed`: not handled yet, for the reason in `error`; most are tried again by themselves."),
    ] = None
    type: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,100}$")] | None,
        Field(description="The provider's name of what happened, such as `charge.refunded` or `bounce`."),
    ] = None
    since: Annotated[Moment | None, Field(description="Received from this moment on.")] = None


class ListedEventBody(ResponseBody):
    """An event of a provider, and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVENT]})

    id: UUID
    provider: str
    provider_event_id: str
    type: str
    account: Annotated[str | None, Field(description="The connected account that it happened on; null for our own.")]
    status: InboxStatus
    received_at: datetime
    processed_at: datetime | None
    attempts: int
    error: str | None

    @classmethod
    def of(cls, event: WebhookEvent) -> Self:
        """Return what is shown of an event."""
        columns = {name: getattr(event, name) for name in cls.model_fields if name not in {"status", "payload"}}
        payload = {"payload": without_secrets(event.payload)} if "payload" in cls.model_fields else {}
        return cls.model_validate({**columns, **payload, "status": status_of(event)})


class InboxEventBody(ListedEventBody):
    """An event with what it said."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**_EVENT, "payload": {"data": {"object": {"object": "payment_intent", "id": "pi_1"}}}}]
        }
    )

    payload: Annotated[dict[str, Any], Field(description="Secrets in it read `(hidden)`.")]
