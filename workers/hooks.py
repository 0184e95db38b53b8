"""Tasks of the `webhooks` queue: telling promoters' endpoints what happened."""

from functools import cache
from uuid import UUID

import wiring
from domain import outgoing
from domain.hook_secrets import SecretKeyring
from domain.messages import DeliverWebhook
from domain.ports import HookSender
from workers.app import app, clock, sessions, settings


@cache
def sender() -> HookSender:
    """Return the way to the endpoints."""
    return wiring.open_hook_sender(settings())


@cache
def keyring() -> SecretKeyring:
    """Return the keyring of the endpoints' secrets."""
    return wiring.open_secret_keyring(settings())


@app.task(name=DeliverWebhook.task)
def deliver(delivery_id: str) -> None:
    """Try a delivery, if it is due."""
    outgoing.deliver(sessions(), sender(), keyring(), UUID(delivery_id), clock.now())
