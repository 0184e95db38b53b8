"""The payment provider's events, from the inbox: each names an object, which is read again at the provider.

What a webhook's body claims is never believed; it only says where to look. Storing events is in `webhooks.py`, what a
reading means is in `settlement.py`, `repayment.py`, `foreign_refunds.py` and `disputes.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from domain.errors import RetryableVendorError, VendorError
from domain.messages import Message, ReadAccount, ReceivePaymentEvent, SettlePayment, announce
from domain.models import PaymentTransaction, WebhookEvent
from domain.models.payments import OPEN_STATUSES
from domain.payments import attempts, disputes, foreign_refunds, repayment, settlement
from domain.payments.pauses import spread
from domain.ports import Dispute, Intent, PaymentGateway, Refund
from domain.rules.states import AttemptKind, AttemptStatus

ATTEMPTS = 15
"""An event that nobody could make sense of is tried for most of a day, in ever longer pauses, and kept for good."""
FIRST_PAUSE_SECONDS = 4
"""Doubled with each try, and counted from the arrival: the last try is 18 hours after it."""
STALLED_LIMIT = 500
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNINTERESTING = frozenset({"payment_intent.created"})
"""It often comes before we have recorded the intent that we have just opened, and says nothing that we do not know."""

_UNKNOWN = "It is about an object that is not ours, or not yet."
_FOREIGN = "It is of a payment on another account, which is not ours."
_UNSETTLED = "Its charge is not settled yet."
_UNANSWERED = "It may be about a refund of ours whose answer is still to come."

Reading = Intent | Refund | Dispute


@dataclass(frozen=True, slots=True)
class _Subject:
    """What an event is about: the provider's object to read, and our attempt, where we know it before the reading."""

    kind: AttemptKind
    object_id: str
    attempt_id: UUID | None


def receive_event(sessions: sessionmaker[Session], gateway: PaymentGateway, event_id: UUID, now: datetime) -> None:
    """Handle an event of the inbox; it counts as processed only in the transaction that acted on it.

    One about an object that we do not know (yet), or that cannot be read now, stays for the sweep.
    """
    with sessions.begin() as session:
        subject = _open(session, event_id, now)
    if subject is None:
        return
    try:
        reading = _read(gateway, subject)
    except VendorError as error:
        with sessions.begin() as session:
            _postpone(session.get_one(WebhookEvent, event_id), error)
        return
    with sessions.begin() as session:
        hindrance = _act(session, subject, reading, now)
        event = session.get_one(WebhookEvent, event_id)
        if hindrance is None:
            _close(event, now)
        else:
            event.error = hindrance


def _open(session: Session, event_id: UUID, now: datetime) -> _Subject | None:
    """Return what an event is about, unless it says nothing to us, or nothing that we do not know."""
    event = session.get(WebhookEvent, event_id, with_for_update=True)
    if event is None or event.processed_at is not None:
        return None
    event.attempts += 1
    about = _object_of(event.payload)
    reference = _reference(about)
    if about.get("object") == "account" and event.account is not None:
        announce(session, ReadAccount(event.account))
        _close(event, now)
    elif reference is None or event.type in UNINTERESTING:
        _close(event, now)
    elif event.account is not None:
        # Our payments are all made on our own account, whatever intent this one names.
        _close(event, now, _FOREIGN)
    elif (attempt := _find(session, about, *reference)) is None:
        event.error = _UNKNOWN
    elif reference[0] is AttemptKind.CHARGE and attempt.status not in OPEN_STATUSES:
        # Its outcome is known: no reading of the intent could change it.
        _close(event, now)
    else:
        return _Subject(*reference, attempt.id if attempt.kind is reference[0] else None)
    return None


def _object_of(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    data = payload.get("data")
    about = data.get("object") if isinstance(data, Mapping) else None
    return about if isinstance(about, Mapping) else {}


def _reference(about: Mapping[str, Any]) -> tuple[AttemptKind, str] | None:
    """Return what to read: a refund, a dispute, or the intent that an intent or a charge is about."""
    match about:
        case {"object": "refund", "id": str(refund_id)}:
            return AttemptKind.REFUND, refund_id
        case {"object": "dispute", "id": str(dispute_id)}:
            return AttemptKind.DISPUTE, dispute_id
        case {"object": "payment_intent", "id": str(intent_id)}:
            return AttemptKind.CHARGE, intent_id
        case {"object": "charge", "payment_intent": str(intent_id) | {"id": str(intent_id)}}:
            return AttemptKind.CHARGE, intent_id
        case _:
            return None


def _find(session: Session, about: Mapping[str, Any], kind: AttemptKind, object_id: str) -> PaymentTransaction | None:
    """Return our attempt that an event is about, or the charge that it says to belong to; both are but hints."""
    attempt = session.scalar(
        select(PaymentTransaction).where(
            PaymentTransaction.provider_transaction_id == object_id, PaymentTransaction.kind == kind
        )
    )
    if attempt is None and kind is AttemptKind.REFUND:
        attempt = _find_unanswered_refund(session, about)
    match about:
        case {"payment_intent": str(intent_id) | {"id": str(intent_id)}} if attempt is None:
            return attempts.find_charge(session, intent_id)
        case _:
            return attempt


def _find_unanswered_refund(session: Session, about: Mapping[str, Any]) -> PaymentTransaction | None:
    """Return our refund whose answer was lost, by the name that we gave it: a hint, checked against the reading."""
    match about:
        case {"metadata": {"refund_id": str(name)}} if _UUID.fullmatch(name):
            return session.scalar(
                select(PaymentTransaction).where(
                    PaymentTransaction.id == UUID(name),
                    PaymentTransaction.kind == AttemptKind.REFUND,
                    PaymentTransaction.provider_transaction_id.is_(None),
                    PaymentTransaction.status.in_(OPEN_STATUSES),
                )
            )
        case _:
            return None


def _read(gateway: PaymentGateway, subject: _Subject) -> Reading:
    match subject.kind:
        case AttemptKind.CHARGE:
            return gateway.find_intent(subject.object_id)
        case AttemptKind.REFUND:
            return gateway.find_refund(subject.object_id)
        case AttemptKind.DISPUTE:
            return gateway.find_dispute(subject.object_id)


def _act(session: Session, subject: _Subject, reading: Reading, now: datetime) -> str | None:
    """Apply a reading; return what hinders it, if anything."""
    if isinstance(reading, Intent):
        assert subject.attempt_id is not None, "an intent is of its charge"
        order, attempt = attempts.lock(session, subject.attempt_id)
        settlement.apply_reading(session, order, attempt, reading, now)
        return None
    if isinstance(reading, Refund) and subject.attempt_id is not None:
        order, attempt = attempts.lock(session, subject.attempt_id)
        repayment.apply_reading(session, order, attempt, reading, now)
        return None
    return _act_on_charge(session, reading, now)


def _act_on_charge(session: Session, reading: Refund | Dispute, now: datetime) -> str | None:
    """Apply the reading of what happened to a charge of ours at the provider, once the charge itself is settled."""
    found = attempts.find_charge(session, reading.intent_id)
    if found is None:
        return _UNKNOWN
    order, charge = attempts.lock(session, found.id)
    if charge.status is not AttemptStatus.SUCCEEDED:
        announce(session, SettlePayment(order.id), order.request_id)
        return _UNSETTLED
    if isinstance(reading, Dispute):
        disputes.apply_reading(session, order, charge, reading, now)
    elif not foreign_refunds.apply_reading(session, order, charge, reading, now):
        return _UNANSWERED
    return None


def _postpone(event: WebhookEvent, error: VendorError) -> None:
    event.error = error.message
    if isinstance(error, RetryableVendorError):
        # However long the provider is away, an event is not given up because of it.
        event.attempts = min(event.attempts, ATTEMPTS - 1)


def _close(event: WebhookEvent, now: datetime, error: str | None = None) -> None:
    event.processed_at = now
    event.error = error


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
