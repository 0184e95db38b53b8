"""The Celery app of every worker, what its tasks work with, and the log context around each task."""

import logging
from functools import cache
from typing import Any

import structlog
from celery import current_task, signals
from sqlalchemy.orm import Session, sessionmaker

import wiring
from adapters.clock import SystemClock
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
    "workers.hooks",
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
    return wiring.read_clocks(settings())


@cache
def dispatcher() -> Dispatcher:
    """Return this process's way to the queues."""
    return Dispatcher(app)


@cache
def sessions() -> sessionmaker[Session]:
    """Return this process's sessions."""
    return wiring.open_database(settings(), dispatcher(), process="worker")


@cache
def gateway() -> PaymentGateway:
    """Return the way to Stripe."""
    return wiring.open_gateway(settings())


@cache
def mailer() -> Mailer:
    """Return the way to SendGrid."""
    return wiring.open_mailer(settings())


@cache
def signer() -> Signer:
    """Return the ticket keyring."""
    return wiring.open_signer(settings())


@cache
def qr_renderer() -> QRRenderer:
    """Return the painter of ticket codes."""
    return wiring.open_qr_renderer()


def request_ids(count: int) -> list[str | None]:
    """Return the request id of each of the messages that travelled as the current task's."""
    request = current_task.request
    return request.get("request_ids") or [request.get("request_id")] * count


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
