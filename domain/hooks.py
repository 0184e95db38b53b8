"""Endpoints of outgoing webhooks: where a promoter's own systems are told of what happens, and their secrets.

What is sent there, and when again, is in `outgoing.py`. Webhooks that come in are in `webhooks.py`. Whatever is done
to an endpoint raises `NotFoundError` for whoever has nothing to do with its promoter, `ForbiddenError` without the
right to manage.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from domain import audit, outgoing
from domain.audit import Actor
from domain.changes import change
from domain.errors import ConflictError, InvalidError, NotFoundError
from domain.hook_secrets import SecretKeyring, written
from domain.messages import DeliverWebhook, announce
from domain.models import Promoter, WebhookDelivery, WebhookEndpoint
from domain.ownership import find_promoter
from domain.rules.addresses import find_fault
from domain.rules.states import DeliveryStatus, DisabledReason, TeamRight, WebhookType

MOST = 10
"""Endpoints per promoter."""
CHANGE_OVER = timedelta(hours=24)
"""How long the old secret of a rotation still signs, too."""


@dataclass(frozen=True, slots=True)
class EndpointWish:
    """What is to be so about an endpoint; what is None stays as it is."""

    url: str | None = None
    types: Collection[WebhookType] | None = None
    is_enabled: bool | None = None


def add_endpoint(
    session: Session,
    actor: Actor,
    promoter_id: UUID | None,
    url: str,
    types: Collection[WebhookType],
    keyring: SecretKeyring,
    *,
    to_loopback: bool,
) -> tuple[WebhookEndpoint, str]:
    """Let a promoter's address hear of these types; return it with its secret, which is told only now.

    Raises `InvalidError` for an address that must not be called, `ConflictError` if there are too many.
    """
    promoter = find_promoter(session, actor, promoter_id, TeamRight.MANAGE)
    _check(url, to_loopback=to_loopback)
    # Locked, so that two requests at once cannot both be the last that fits.
    session.get_one(Promoter, promoter.id, with_for_update={"key_share": True, "of": Promoter})
    count = session.scalar(
        select(func.count()).where(WebhookEndpoint.promoter_id == promoter.id, WebhookEndpoint.deleted_at.is_(None))
    )
    if (count or 0) >= MOST:
        raise ConflictError(f"A promoter has at most {MOST} endpoints.", code="too-many-webhooks")
    endpoint = WebhookEndpoint(
        id=uuid7(),
        promoter_id=promoter.id,
        url=url,
        types=_in_order(types),
        secret_id=uuid7(),
        secret_kid=keyring.current,
    )
    session.add(endpoint)
    audit.record(session, actor, "webhook.create", endpoint, new=_told({"url": url, "types": endpoint.types}))
    return endpoint, written(keyring.secret(endpoint.secret_id, endpoint.secret_kid))


def list_endpoints(session: Session, actor: Actor, promoter_id: UUID | None) -> Sequence[WebhookEndpoint]:
    """Return a promoter's endpoints, oldest first."""
    promoter = find_promoter(session, actor, promoter_id, TeamRight.MANAGE)
    return session.scalars(
        select(WebhookEndpoint)
        .where(WebhookEndpoint.promoter_id == promoter.id, WebhookEndpoint.deleted_at.is_(None))
        .order_by(WebhookEndpoint.id)
    ).all()


def find_endpoint(session: Session, actor: Actor, endpoint_id: UUID, *, locked: bool = False) -> WebhookEndpoint:
    """Return an endpoint of a promoter whom the actor manages."""
    lock: Any = {"key_share": True} if locked else None
    endpoint = session.get(WebhookEndpoint, endpoint_id, with_for_update=lock)
    if endpoint is None or endpoint.is_deleted:
        raise NotFoundError("webhook")
    try:
        find_promoter(session, actor, endpoint.promoter_id, TeamRight.MANAGE)
    except NotFoundError:
        raise NotFoundError("webhook") from None
    return endpoint


def change_endpoint(
    session: Session, actor: Actor, endpoint_id: UUID, wish: EndpointWish, now: datetime, *, to_loopback: bool
) -> WebhookEndpoint:
    """Change what is wished for; enabling forgets earlier failures. Raises `InvalidError` as `add_endpoint` does."""
    endpoint = find_endpoint(session, actor, endpoint_id, locked=True)
    values: dict[str, Any] = {}
    if wish.url is not None:
        _check(wish.url, to_loopback=to_loopback)
        values["url"] = wish.url
    if wish.types is not None:
        values["types"] = _in_order(wish.types)
    if wish.is_enabled is True:
        values |= {"disabled_at": None, "disabled_reason": None}
        outgoing.revive(endpoint)
    elif wish.is_enabled is False and endpoint.is_enabled:
        values |= {"disabled_at": now, "disabled_reason": DisabledReason.PROMOTER}
    old, new = change(endpoint, values)
    if new:
        audit.record(session, actor, "webhook.update", endpoint, old=_told(old), new=_told(new))
    return endpoint


def rotate_secret(
    session: Session, actor: Actor, endpoint_id: UUID, keyring: SecretKeyring, now: datetime
) -> tuple[WebhookEndpoint, str]:
    """Give an endpoint a new secret, and return both; the old one signs beside it for a day."""
    endpoint = find_endpoint(session, actor, endpoint_id, locked=True)
    endpoint.previous_secret_id, endpoint.previous_secret_kid = endpoint.secret_id, endpoint.secret_kid
    endpoint.previous_secret_until = now + CHANGE_OVER
    endpoint.secret_id, endpoint.secret_kid = uuid7(), keyring.current
    audit.record(session, actor, "webhook.rotate_secret", endpoint)
    return endpoint, written(keyring.secret(endpoint.secret_id, endpoint.secret_kid))


def delete_endpoint(session: Session, actor: Actor, endpoint_id: UUID, now: datetime) -> None:
    """Tell an endpoint nothing more, what waits for it included."""
    endpoint = find_endpoint(session, actor, endpoint_id, locked=True)
    endpoint.deleted_at = now
    audit.record(session, actor, "webhook.delete", endpoint, old=_told({"url": endpoint.url}))


def ping_endpoint(session: Session, actor: Actor, endpoint_id: UUID) -> WebhookDelivery:
    """Send an endpoint a `webhook.test`; raises `ConflictError` if it is disabled."""
    endpoint = find_endpoint(session, actor, endpoint_id)
    _require_enabled(endpoint)
    audit.record(session, actor, "webhook.test", endpoint)
    return outgoing.put(session, endpoint.id, WebhookType.WEBHOOK_TEST, {"webhook_id": str(endpoint.id)})


def list_deliveries(
    session: Session, actor: Actor, endpoint_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[WebhookDelivery]:
    """Return what an endpoint was told, newest first, those older than `before`, at most `limit` + 1 of them."""
    endpoint = find_endpoint(session, actor, endpoint_id)
    query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id)
    if before is not None:
        query = query.where(WebhookDelivery.id < before)
    return session.scalars(query.order_by(WebhookDelivery.id.desc()).limit(limit + 1)).all()


def replay(session: Session, actor: Actor, endpoint_id: UUID, delivery_id: UUID, now: datetime) -> WebhookDelivery:
    """Deliver again, under the same id and from the first try on, whatever became of it.

    Raises `NotFoundError` for another endpoint's delivery, `ConflictError` if the endpoint is disabled.
    """
    endpoint = find_endpoint(session, actor, endpoint_id)
    delivery = session.get(WebhookDelivery, delivery_id, with_for_update=True)
    if delivery is None or delivery.endpoint_id != endpoint.id:
        raise NotFoundError("delivery")
    _require_enabled(endpoint)
    delivery.status, delivery.attempts, delivery.next_attempt_at = DeliveryStatus.PENDING, 0, now
    delivery.delivered_at = delivery.error = delivery.response_status = None
    audit.record(session, actor, "webhook.replay", endpoint, new={"delivery_id": str(delivery.id)})
    announce(session, DeliverWebhook(delivery.id))
    return delivery


def _check(url: str, *, to_loopback: bool) -> None:
    if fault := find_fault(url, to_loopback=to_loopback):
        raise InvalidError(fault, pointer="/url")


def _require_enabled(endpoint: WebhookEndpoint) -> None:
    if not endpoint.is_enabled:
        raise ConflictError("The endpoint is disabled: enable it first.", code="webhook-disabled")


def _in_order(types: Collection[WebhookType]) -> list[str]:
    return [kind.value for kind in WebhookType if kind in types]


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the audit log keeps: of an address its host only, as paths and queries hold others' secrets."""
    return values | ({"url": urlsplit(values["url"]).hostname} if "url" in values else {})
