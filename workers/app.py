"""The Celery app of every worker, what its tasks work with, and the log context around each task."""

import logging
from dataclasses import fields
from functools import cache
from typing import Any

import structlog
from celery import signals
from sqlalchemy.orm import Session, sessionmaker

from adapters.clock import SystemClock
from adapters.database import PoolLimits, open_engine, open_sessions
from adapters.logs import bind_request_id, forget_context, set_up_logs
from adapters.queue import Dispatcher, open_queue_app
from domain.ports import Mailer, PaymentGateway, QRRenderer, Signer
from domain.rules.clocks import Clocks
from settings import Settings, load

app = open_queue_app("celeryconfig")
app.conf.include = [
    "workers.payments",
    "workers.tickets",
    "workers.notifications",
    "workers.waitlist",
    "workers.sweep",
]

clock = SystemClock()


@cache
def settings() -> Settings:
    """Return the settings, read once."""
    return load()


@cache
def clocks() -> Clocks:
    """Return the clocks that run while stock is kept."""
    return Clocks(**settings().model_dump(include={field.name for field in fields(Clocks)}))


@cache
def sessions() -> sessionmaker[Session]:
    """Return this process's sessions; what they announce is dispatched after their commit."""
    limits = PoolLimits(
        settings().database_pool_size, settings().database_max_overflow, settings().database_pool_timeout_seconds
    )
    engine = open_engine(str(settings().database_url), limits, application_name="worker")
    return open_sessions(engine, dispatcher())


@cache
def dispatcher() -> Dispatcher:
    """Return this process's way to the queues."""
    return Dispatcher(app)


# The vendors' libraries are heavy to import, and each worker needs one of them at most.


@cache
def gateway() -> PaymentGateway:
    """Return the way to Stripe."""
    from adapters.stripe_gateway import StripeGateway  # noqa: PLC0415

    return StripeGateway(
        secret_key=settings().stripe_secret_key.get_secret_value(),
        webhook_secret=settings().stripe_webhook_secret.get_secret_value(),
        api_url=settings().stripe_api_url,
        timeout_seconds=settings().stripe_timeout_seconds,
    )


@cache
def mailer() -> Mailer:
    """Return the way to SendGrid."""
    from adapters.sendgrid_mailer import SendGridMailer  # noqa: PLC0415

    return SendGridMailer(
        settings().sendgrid_api_key.get_secret_value(),
        public_key=settings().sendgrid_webhook_public_key,
        sender=settings().mail_from,
        sender_name=settings().mail_from_name,
        reply_to=settings().mail_reply_to,
        host=settings().sendgrid_api_url,
        timeout=settings().sendgrid_timeout_seconds,
    )


@cache
def signer() -> Signer:
    """Return the ticket keyring."""
    from adapters.ticket_signer import TicketSigner  # noqa: PLC0415

    return TicketSigner({kid: seed.get_secret_value() for kid, seed in settings().ticket_keys.items()})


@cache
def qr_renderer() -> QRRenderer:
    """Return the painter of QR codes."""
    from adapters.qr_renderer import QRRenderer as Painter  # noqa: PLC0415

    return Painter()


@signals.celeryd_init.connect
def _name_logs(sender: str, **_: Any) -> None:
    set_up_logs(settings().log_level, process=sender.partition("@")[0])


@signals.setup_logging.connect
def _keep_logs(**_: Any) -> None:
    """Having a receiver, Celery leaves the loggers alone; beat, which has no name, gets its own here."""
    if not logging.getLogger().handlers:
        set_up_logs(settings().log_level, process="beat")


@signals.task_prerun.connect
def _bind_request(task: Any, **_: Any) -> None:
    forget_context()
    if request_id := task.request.get("request_id"):
        bind_request_id(request_id)
    structlog.contextvars.bind_contextvars(task=task.name)


@signals.task_postrun.connect
def _forget_request(**_: Any) -> None:
    forget_context()
