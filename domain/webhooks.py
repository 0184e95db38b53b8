"""The webhook inbox: a verified event is stored once and acknowledged; handling it is another transaction's work.

What the events mean is in `payment_events.py` and `deliveries.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from domain.messages import ReceiveMailEvent, ReceivePaymentEvent, announce
from domain.models import WebhookEvent
from domain.ports import ProviderEvent

_MESSAGES = {"stripe": ReceivePaymentEvent, "sendgrid": ReceiveMailEvent}
_SECRETS = frozenset({"client_secret"})
"""Whoever has it may pay with the intent; nobody who reads the inbox needs it."""


def store(session: Session, provider: str, events: Sequence[ProviderEvent]) -> int:
    """Store the events that are not in the inbox yet, announce those, and return how many they were."""
    rows = [
        {
            "provider": provider,
            "provider_event_id": event.id,
            "type": event.type,
            "payload": _storable(event.payload),
        }
        # Sorted, so that two deliveries of one batch cannot wait for each other in a circle.
        for event in sorted(events, key=lambda event: event.id)
    ]
    if not rows:
        return 0
    stored = session.scalars(
        insert(WebhookEvent)
        .on_conflict_do_nothing(index_elements=[WebhookEvent.provider, WebhookEvent.provider_event_id])
        .returning(WebhookEvent.id),
        rows,
    ).all()
    for event_id in stored:
        announce(session, _MESSAGES[provider](event_id))
    return len(stored)


def _storable(value: Any) -> Any:
    """Return the value without secrets, and without the NUL characters that PostgreSQL has no text for."""
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, Mapping):
        return {_storable(key): _storable(inner) for key, inner in value.items() if key not in _SECRETS}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    return value
