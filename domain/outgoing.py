"""The outbox of outgoing webhooks: written in the transaction of what it tells, delivered at least once.

Format, signature and schedule are those of standardwebhooks.com. The endpoints themselves are in `hooks.py`.
"""

import json
import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, joinedload, sessionmaker
from uuid_utils.compat import uuid7

from domain.errors import VendorError
from domain.hook_secrets import SecretKeyring, sign
from domain.messages import DeliverWebhook, Message, announce
from domain.models import Event, Order, Promoter, WebhookDelivery, WebhookEndpoint
from domain.notifications import queue_mail
from domain.ports import HookPost, HookSender
from domain.rules.backoff import backoff
from domain.rules.states import DeliveryStatus, DisabledReason, WebhookType

WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""After each failed try but the last: ten tries in 75 hours, the schedule that standardwebhooks.com recommends."""
LEASE = timedelta(seconds=90)
"""How long a try may take: longer than a task may run (task_time_limit). After that somebody else may try."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=10)
"""How long an endpoint is left alone after failures in a row, whatever it is to be told meanwhile."""
FAILING_LIMIT = timedelta(days=5)
KEPT = timedelta(days=30)
STALLED_LIMIT = 500


def tell(session: Session, event_id: UUID, kind: WebhookType, data: Mapping[str, Any]) -> None:
    """Let whoever of the event's promoter wants to hear of it know, once this transaction is committed.

    `data` is ids and states, nothing personal: the receiver reads the rest with its own rights.
    """
    tell_each(session, event_id, kind, [data])


def tell_each(session: Session, event_id: UUID, kind: WebhookType, happened: Sequence[Mapping[str, Any]]) -> None:
    """Tell what happened several times, as `tell` does, in as many statements as once."""
    endpoints = session.scalars(
        select(WebhookEndpoint.id)
        .join(Event, Event.promoter_id == WebhookEndpoint.promoter_id)
        .where(Event.id == event_id, WebhookEndpoint.types.contains([kind]))
        .where(WebhookEndpoint.disabled_at.is_(None), WebhookEndpoint.deleted_at.is_(None))
    ).all()
    for endpoint_id in endpoints:
        for data in happened:
            put(session, endpoint_id, kind, {"event_id": str(event_id), **data})


def tell_of_order(session: Session, order: Order, kind: WebhookType) -> None:
    """Tell where a locked order stands, as `tell` does."""
    told = {
        "status": order.status,
        "stage": order.stage,
        "reason": order.reason,
        "payment_status": order.payment_status,
    }
    tell(session, order.event_id, kind, {"order_id": str(order.id), **told})


def put(session: Session, endpoint_id: UUID, kind: WebhookType, data: Mapping[str, Any]) -> WebhookDelivery:
    """Write what one endpoint is to be told, and ring for it."""
    delivery = WebhookDelivery(id=uuid7(), endpoint_id=endpoint_id, type=kind, data=dict(data))
    session.add(delivery)
    announce(session, DeliverWebhook(delivery.id))
    return delivery


def deliver(
    sessions: sessionmaker[Session], sender: HookSender, keyring: SecretKeyring, delivery_id: UUID, now: datetime
) -> None:
    """Try a delivery that is due: claim it, post outside of any transaction, record what became of it."""
    with sessions.begin() as session:
        post = _claim(session, keyring, delivery_id, now)
    if post is None:
        return
    status, error, began = None, None, time.monotonic()
    try:
        status = sender.send(post)
    except VendorError as trouble:
        error = trouble.message
    # Pauses run from the end of a try, which may have waited long for an answer.
    ended = now + timedelta(seconds=time.monotonic() - began)
    with sessions.begin() as session:
        _record(session, delivery_id, status, error, ended)


def _claim(session: Session, keyring: SecretKeyring, delivery_id: UUID, now: datetime) -> HookPost | None:
    delivery = session.scalar(
        select(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .options(joinedload(WebhookDelivery.endpoint))
        .with_for_update(skip_locked=True, of=WebhookDelivery)
    )
    if delivery is None or delivery.next_attempt_at is None or delivery.next_attempt_at > now:
        return None
    endpoint = delivery.endpoint
    if not endpoint.is_enabled:
        _end(delivery, DeliveryStatus.FAILED, "The endpoint is disabled.")
        return None
    if delivery.attempts > len(WAITS):
        _end(delivery, DeliveryStatus.FAILED, "Nobody who tried it lived to say what became of it.")
        return None
    if endpoint.paused_until is not None and endpoint.paused_until > now:
        # Spread, or all that wait for it would come back at once.
        delivery.next_attempt_at = endpoint.paused_until + random.random() * FIRST_PAUSE  # noqa: S311
        return None
    try:
        post = _sealed(delivery, keyring, now)
    except KeyError:
        _disable(session, endpoint.id, DisabledReason.KEY_LOST, now)
        _end(delivery, DeliveryStatus.FAILED, "The key that made the endpoint's secret is gone.")
        return None
    delivery.attempts += 1
    delivery.next_attempt_at = now + LEASE
    return post


def _sealed(delivery: WebhookDelivery, keyring: SecretKeyring, now: datetime) -> HookPost:
    """Return the signed message; raise `KeyError` if the key of the endpoint's secret is gone."""
    endpoint = delivery.endpoint
    secrets = [keyring.secret(secret_id, kid) for secret_id, kid in endpoint.secrets_at(now)]
    message = {"type": delivery.type, "timestamp": delivery.created_at.isoformat(), "data": delivery.data}
    body = json.dumps(message, separators=(",", ":")).encode()
    timestamp = int(now.timestamp())
    headers = {
        "content-type": "application/json",
        "user-agent": "TicketVendor-Webhooks",
        "webhook-id": str(delivery.id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, str(delivery.id), timestamp, body),
    }
    return HookPost(endpoint.url, headers, body)


def _record(session: Session, delivery_id: UUID, status: int | None, error: str | None, now: datetime) -> None:
    delivery = session.get_one(
        WebhookDelivery, delivery_id, with_for_update={"of": WebhookDelivery}, options=[_WITH_ENDPOINT]
    )
    if delivery.status is not DeliveryStatus.PENDING:
        return
    endpoint = delivery.endpoint
    delivery.response_status = status
    if status is not None and HTTPStatus(200) <= status < HTTPStatus.MULTIPLE_CHOICES:
        _end(delivery, DeliveryStatus.DELIVERED)
        delivery.delivered_at = now
        if endpoint.failures:
            revive(_lock_endpoint(session, endpoint.id))
        return
    delivery.error = error or f"It answered {status}."
    if status == HTTPStatus.GONE:
        _end(delivery, DeliveryStatus.FAILED, delivery.error)
        _disable(session, endpoint.id, DisabledReason.GONE, now)
        return
    if delivery.attempts > len(WAITS):
        _end(delivery, DeliveryStatus.FAILED, delivery.error)
    else:
        # A tenth more or less, so that what failed together does not come back together.
        delivery.next_attempt_at = now + WAITS[delivery.attempts - 1] * random.uniform(0.9, 1.1)  # noqa: S311
    _count_failure(session, endpoint.id, now)


_WITH_ENDPOINT = joinedload(WebhookDelivery.endpoint)


def _count_failure(session: Session, endpoint_id: UUID, now: datetime) -> None:
    """Leave a failing endpoint alone for a while, and for good after days."""
    endpoint = _lock_endpoint(session, endpoint_id)
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    endpoint.paused_until = now + backoff(
        endpoint.failures,
        first=FIRST_PAUSE,
        longest=LONGEST_PAUSE,
        jitter=random.random(),  # noqa: S311
    )
    if now - endpoint.failing_since >= FAILING_LIMIT:
        _disable(session, endpoint_id, DisabledReason.FAILING, now)


def revive(endpoint: WebhookEndpoint) -> None:
    """Forget a locked endpoint's failures."""
    endpoint.failures = 0
    endpoint.failing_since = endpoint.paused_until = None


def _disable(session: Session, endpoint_id: UUID, reason: DisabledReason, now: datetime) -> None:
    """Tell an endpoint nothing more, and its promoter why, by mail."""
    endpoint = _lock_endpoint(session, endpoint_id)
    if not endpoint.is_enabled:
        return
    endpoint.disabled_at, endpoint.disabled_reason = now, reason
    promoter = session.get_one(Promoter, endpoint.promoter_id, options=[joinedload(Promoter.user)])
    queue_mail(
        session,
        template="webhook_disabled",
        purpose=f"webhook_disabled:{endpoint.id}:{now.isoformat()}",
        recipient=promoter.user.email,
        recipient_name=promoter.user.full_name,
        user_id=promoter.user_id,
        context={"first_name": promoter.user.first_name, "url": endpoint.url, "disabled_reason": reason.value},
    )


def _lock_endpoint(session: Session, endpoint_id: UUID) -> WebhookEndpoint:
    return session.get_one(WebhookEndpoint, endpoint_id, with_for_update={"key_share": True}, populate_existing=True)


def _end(delivery: WebhookDelivery, status: DeliveryStatus, error: str | None = None) -> None:
    delivery.status = status
    delivery.error = error
    delivery.next_attempt_at = None


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages for deliveries that have been due since `before`: first tries and later ones."""
    due = session.scalars(
        select(WebhookDelivery.id)
        .where(WebhookDelivery.status == DeliveryStatus.PENDING, WebhookDelivery.next_attempt_at < before)
        .order_by(WebhookDelivery.next_attempt_at)
        .limit(STALLED_LIMIT)
    )
    return [DeliverWebhook(delivery_id) for delivery_id in due]


def delete_old(session: Session, now: datetime) -> None:
    """Delete the deliveries that nobody will ask for any more; each has ended long before."""
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.created_at < now - KEPT))
