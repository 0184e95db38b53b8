"""Where Stripe and SendGrid report: verify over the raw bytes, store once, answer; handling is the workers'.

Whoever can sign may come as often as they like, and with more than our clients may send at once.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from flask import Response, request
from pydantic import Field

from domain import webhooks
from domain.errors import ForgedEventError
from domain.ports import ProviderEvent
from web.auth import public
from web.nouns import Noun
from web.openapi import describes
from web.problems import Problem
from web.rate_limits import unlimited
from web.responses import answer
from web.schemas.base import ResponseBody
from web.services import services

BODY_LIMIT = 2 * 1024 * 1024
"""SendGrid posts batches of up to about 1 MB; a Stripe event is far smaller."""

blueprint = Noun("webhooks", "Where Stripe and SendGrid report.", url_prefix="/webhooks")


class Acknowledgement(ResponseBody):
    """The events are kept, and need not be sent again."""

    received: Annotated[int, Field(description="How many events came.", examples=[1])]
    stored: Annotated[int, Field(description="How many of them had not come before.", examples=[1])]


def _json_of(kind: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": {"type": kind}}}}


@blueprint.post(
    "/stripe",
    summary="Receive a Stripe event",
    responses={200: Acknowledgement},
    request_body=_json_of("object"),
)
@describes(
    problems=("webhook-forged",),
    request_headers={"Stripe-Signature": ("Time and HMAC-SHA256 signature over the raw body.", True)},
)
@public
@unlimited
def receive_stripe_event() -> Response:
    """Verify an event, store it once, and answer; the body may have 2 MiB (docs.stripe.com/webhooks/signature)."""
    payload = _read_body()
    try:
        event = services().gateway.read_event(payload, _read_header("Stripe-Signature"))
    except ForgedEventError as error:
        raise _forged() from error
    return _keep("stripe", [event])


@blueprint.post(
    "/sendgrid",
    summary="Receive SendGrid's delivery events",
    responses={200: Acknowledgement},
    request_body=_json_of("array"),
)
@describes(
    problems=("webhook-forged",),
    request_headers={
        "X-Twilio-Email-Event-Webhook-Signature": ("ECDSA signature over the timestamp and the raw body.", True),
        "X-Twilio-Email-Event-Webhook-Timestamp": ("When it was signed, in Unix seconds.", True),
    },
)
@public
@unlimited
def receive_sendgrid_events() -> Response:
    """Verify a batch of events, store each once, and answer; the body may have 2 MiB.

    (twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features)
    """
    payload = _read_body()
    try:
        events = services().mailer.read_events(
            payload,
            _read_header("X-Twilio-Email-Event-Webhook-Signature"),
            _read_header("X-Twilio-Email-Event-Webhook-Timestamp"),
        )
    except ForgedEventError as error:
        raise _forged() from error
    return _keep("sendgrid", events)


def _read_body() -> bytes:
    request.max_content_length = BODY_LIMIT
    return request.get_data(cache=False)


def _read_header(name: str) -> str:
    """Return a header, or nothing if it is missing or holds what no provider sends and SDKs stumble over."""
    value = request.headers.get(name, "")
    return value if value.isascii() else ""


def _keep(provider: str, events: Sequence[ProviderEvent]) -> Response:
    with services().sessions.begin() as session:
        stored = webhooks.store(session, provider, events)
    return answer(Acknowledgement(received=len(events), stored=stored))


def _forged() -> Problem:
    # One answer for all reasons: whoever forges learns nothing from it.
    return Problem("webhook-forged", "The event is not signed by its provider, or was signed too long ago.")
