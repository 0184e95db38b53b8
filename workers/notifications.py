"""Tasks of the `notifications` queue: sending mails, and handling their delivery events."""

from functools import cache
from uuid import UUID

import wiring
from domain import deliveries, notifications
from domain.correspondence import Links
from domain.messages import ReceiveMailEvent, SendMail
from workers.app import app, clock, mailer, sessions, settings


@cache
def links() -> Links:
    """Return what the links in mails are made of."""
    return Links(settings().public_url.rstrip("/"), wiring.open_token_keyring(settings()))


@app.task(name=SendMail.task)
def send_mail(notification_id: str) -> None:
    """Send a mail of the outbox, if it is due."""
    notifications.send_mail(sessions(), mailer(), UUID(notification_id), clock.now(), links())


@app.task(name=ReceiveMailEvent.task)
def receive_event(event_id: str) -> None:
    """Handle a delivery event of the inbox."""
    deliveries.receive_event(sessions(), UUID(event_id), clock.now())
