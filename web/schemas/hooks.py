"""Bodies of outgoing webhooks."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from domain.models import WebhookEndpoint
from domain.rules.states import DeliveryStatus, DisabledReason, WebhookType
from web.schemas.base import PathArguments, RequestBody, ResponseBody, WebAddress

_ID = "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0c3f"
_WISH: dict[str, Any] = {"url": "https://harbour.example/hooks", "types": ["order.confirmed", "order.refunded"]}
_ENDPOINT: dict[str, Any] = {
    "id": _ID,
    "promoter_id": "0199c2f0-1111-7c3e-9b1f-2a4c6e8f0b1d",
    **_WISH,
    "is_enabled": True,
    "disabled_at": None,
    "disabled_reason": None,
    "failing_since": None,
    "previous_secret_until": None,
    "created_at": "2027-03-01T09:30:00Z",
}
_DELIVERY: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0d40",
    "type": "order.confirmed",
    "data": {
        "event_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
        "order_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0e51",
        "status": "confirmed",
        "stage": "issuing",
        "reason": None,
        "payment_status": "completed",
    },
    "status": "delivered",
    "attempts": 1,
    "next_attempt_at": None,
    "response_status": 204,
    "error": None,
    "delivered_at": "2027-03-01T09:30:01Z",
    "created_at": "2027-03-01T09:30:00Z",
}

Subscription = Literal[
    WebhookType.ORDER_CONFIRMED,
    WebhookType.ORDER_CANCELLED,
    WebhookType.ORDER_REFUNDED,
    WebhookType.TICKET_CHECKED_IN,
    WebhookType.WAITLIST_JOINED,
    WebhookType.EVENT_PUBLISHED,
    WebhookType.EVENT_CANCELLED,
]


def _distinct(types: tuple[Subscription, ...]) -> tuple[Subscription, ...]:
    return tuple(dict.fromkeys(types))


Types = Annotated[
    tuple[Subscription, ...],
    Field(min_length=1, max_length=7, description="What to hear of."),
    AfterValidator(_distinct),
]
Url = Annotated[WebAddress, Field(description="`https`, at a public address. Redirects are not followed.")]


class EndpointPath(PathArguments):
    """Which endpoint."""

    webhook_id: UUID


class DeliveryPath(EndpointPath):
    """Which delivery."""

    delivery_id: UUID


class AddEndpointRequest(RequestBody):
    """Where to tell what."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WISH]})

    url: Url
    types: Types


class ChangeEndpointRequest(RequestBody):
    """What to change; what is left out, or null, stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"is_enabled": True}]})

    url: Url | None = None
    types: Types | None = None
    is_enabled: Annotated[bool | None, Field(description="true forgets earlier failures.")] = None


class EndpointBody(ResponseBody):
    """An endpoint."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ENDPOINT]})

    id: UUID
    promoter_id: UUID
    url: str
    types: list[WebhookType]
    is_enabled: bool
    disabled_at: datetime | None
    disabled_reason: Annotated[
        DisabledReason | None,
        Field(
            description="`promoter`: you did. `gone`: it answered 410. `failing`: nothing arrived for days. "
            "`key_lost`: rotate its secret."
        ),
    ]
    failing_since: datetime | None
    previous_secret_until: Annotated[datetime | None, Field(description="Until then both secrets sign.")]
    created_at: datetime


class NewSecretBody(EndpointBody):
    """An endpoint with its new secret."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_ENDPOINT, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]}
    )

    secret: Annotated[str, Field(description="Shown only now. Libraries: standardwebhooks.com.")]

    @classmethod
    def with_secret(cls, endpoint: WebhookEndpoint, secret: str) -> Self:
        """Return what is told once."""
        return cls(**EndpointBody.model_validate(endpoint).model_dump(), secret=secret)


class EndpointsBody(ResponseBody):
    """All of a promoter's endpoints; there are ten at most."""

    items: list[EndpointBody]


class DeliveryBody(ResponseBody):
    """What an endpoint was told, or is to be told."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

    id: Annotated[UUID, Field(description="The `webhook-id` header, the same at each try.")]
    type: WebhookType
    data: dict[str, Any]
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    response_status: Annotated[int | None, Field(description="The HTTP status of the last try, if it was answered.")]
    error: str | None
    delivered_at: datetime | None
    created_at: datetime
