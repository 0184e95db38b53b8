"""The payment provider's events, from the inbox: each names an object, which is read again at the provider.

What a webhook's body claims is never believed; it only says where to look. Storing events is in `webhooks.py`, what a
reading means is in `settlement.py` and `repayment.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from domain.errors import VendorError
from domain.messages import Message, ReceivePaymentEvent
from domain.models import PaymentTransaction, WebhookEvent
from domain.models.payments import OPEN_STATUSES
from domain.payments import attempts, repayment, settlement
from domain.payments.pauses import spread
from domain.ports import Intent, PaymentGateway, Refund
from domain.rules.states import AttemptKind

ATTEMPTS = 15
"""An event that nobody could make sense of is tried for most of a day, in ever longer pauses, and kept for good."""
FIRST_PAUSE_SECONDS = 2
STALLED_LIMIT = 500
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNINTERESTING = frozenset({"payment_intent.created"})
"""It often comes before we have recorded the intent that we have just opened, and says nothing that we do not know."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What an event is about: one of our attempts, and the provider's object to read."""

    attempt_id: UUID
    kind: AttemptKind
    object_id: str
    is_settled: bool
    """A charge whose outcome is known: no reading of its intent could change it."""


def receive_event(sessions: sessionmaker[Session], gateway: PaymentGateway, event_id: UUID, now: datetime) -> None:
    """Handle an event of the inbox; it counts as processed only in the transaction that acted on it.

    One about an object that we do not know (yet), or that cannot be read now, stays for the sweep.
    """
    with sessions.begin() as session:
        subject = _open(session, event_id, now)
    if subject is None:
        return
    try:
        reading = (
            gateway.find_intent(subject.object_id)
            if subject.kind is AttemptKind.CHARGE
            else gateway.find_refund(subject.object_id)
        )
    except VendorError as error:
        with sessions.begin() as session:
            session.get_one(WebhookEvent, event_id).error = error.message
    else:
        with sessions.begin() as session:
            _act(session, subject, reading, now)
            _close(session.get_one(WebhookEvent, event_id), now)


def _open(session: Session, event_id: UUID, now: datetime) -> _Subject | None:
    event = session.get(WebhookEvent, event_id, with_for_update=True)
    if event is None or event.processed_at is not None:
        return None
    event.attempts += 1
    about = _object_of(event.payload)
    if event.type in UNINTERESTING or _reference(about) is None:
        _close(event, now)
        return None
    subject = _find(session, about)
    if subject is None:
        event.error = "It is about an object that is not ours, or not yet."
    elif subject.is_settled:
        _close(event, now)
        return None
    return subject


def _object_of(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    data = payload.get("data")
    about = data.get("object") if isinstance(data, Mapping) else None
    return about if isinstance(about, Mapping) else {}


def _reference(about: Mapping[str, Any]) -> tuple[AttemptKind, str] | None:
    """Return what to read: a refund, or the intent that an intent or a charge is about."""
    match about:
        case {"object": "refund", "id": str(refund_id)}:
            return AttemptKind.REFUND, refund_id
        case {"object": "payment_intent", "id": str(intent_id)}:
            return AttemptKind.CHARGE, intent_id
        case {"object": "charge", "payment_intent": str(intent_id) | {"id": str(intent_id)}}:
            return AttemptKind.CHARGE, intent_id
        case _:
            return None


def _find(session: Session, about: Mapping[str, Any]) -> _Subject | None:
    reference = _reference(about)
    assert reference is not None
    kind, object_id = reference
    attempt = session.scalar(
        select(PaymentTransaction).where(
            PaymentTransaction.provider_transaction_id == object_id, PaymentTransaction.kind == kind
        )
    )
    if attempt is None and kind is AttemptKind.REFUND:
        attempt = _find_unanswered_refund(session, about)
    if attempt is None:
        return None
    is_settled = kind is AttemptKind.CHARGE and attempt.status not in OPEN_STATUSES
    return _Subject(attempt.id, kind, object_id, is_settled)


def _find_unanswered_refund(session: Session, about: Mapping[str, Any]) -> PaymentTransaction | None:
    """Return our refund whose answer was lost, by the name that we gave it: a hint, checked against the reading."""
    match about:
        case {"metadata": {"refund_id": str(name)}} if _UUID.fullmatch(name):
            return session.scalar(
                select(PaymentTransaction).where(
                    PaymentTransaction.id == UUID(name),
                    PaymentTransaction.kind == AttemptKind.REFUND,
                    PaymentTransaction.provider_transaction_id.is_(None),
                )
            )
        case _:
            return None


def _act(session: Session, subject: _Subject, reading: Intent | Refund, now: datetime) -> None:
    order, attempt = attempts.lock(session, subject.attempt_id)
    if isinstance(reading, Intent):
        settlement.apply_reading(session, order, attempt, reading, now)
    else:
        repayment.apply_reading(session, order, attempt, reading, now)


def _close(event: WebhookEvent, now: datetime) -> None:
    event.processed_at = now
    event.error = None


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for events that were acknowledged and could not be handled yet."""
    pause = func.make_interval(0, 0, 0, 0, 0, 0, FIRST_PAUSE_SECONDS * func.power(2, WebhookEvent.attempts))
    lot = WebhookEvent.id, WebhookEvent.attempts
    waiting = session.scalars(
        select(WebhookEvent.id)
        .where(WebhookEvent.provider == "stripe", WebhookEvent.processed_at.is_(None))
        .where(WebhookEvent.attempts < ATTEMPTS, WebhookEvent.received_at < before)
        .where((WebhookEvent.attempts == 0) | (WebhookEvent.received_at + spread(pause, *lot) < before))
        .order_by(WebhookEvent.received_at)
        .limit(STALLED_LIMIT)
    )
    return [ReceivePaymentEvent(event_id) for event_id in waiting]
