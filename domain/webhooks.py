"""The webhook inbox: a verified event is stored once and acknowledged; handling it is another transaction's work.

What the events mean is in `payments/events.py` and `deliveries.py`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from domain.messages import ReceiveMailEvent, ReceivePaymentEvent, announce
from domain.models import WebhookEvent
from domain.ports import ProviderEvent

MESSAGES = {"stripe": ReceivePaymentEvent, "sendgrid": ReceiveMailEvent}
_SECRETS = frozenset({"client_secret"})
"""Whoever has it may pay with the intent; nobody who reads the inbox needs it."""
_DEPTH_MAX = 64
"""No provider nests so deep; a Stripe event has about ten levels."""


def store(session: Session, provider: str, events: Sequence[ProviderEvent]) -> int:
    """Store the events that are not in the inbox yet, announce those, and return how many they were."""
    rows = [
        {
            "provider": provider,
            "provider_event_id": _storable(event.id),
            "type": _storable(event.type),
            "payload": _storable(event.payload),
            "account": _storable(event.account),
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
        announce(session, MESSAGES[provider](event_id))
    return len(stored)


def _storable(value: Any, depth: int = 1) -> Any:
    """Return the value without secrets, and without what PostgreSQL cannot hold: one event must not cost a batch.

    NUL characters go, a lone surrogate becomes `?`, an endless number null, and so does what is nested absurdly deep.
    """
    if isinstance(value, str):
        return value.replace("\x00", "").encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping | list) and depth > _DEPTH_MAX:
        return None
    if isinstance(value, Mapping):
        return {_storable(key): _storable(inner, depth + 1) for key, inner in value.items() if key not in _SECRETS}
    if isinstance(value, list):
        return [_storable(inner, depth + 1) for inner in value]
    return value
