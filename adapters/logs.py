"""Structured logs: one JSON line per event on standard output, with the request id on each.

Standard-library loggers (Celery, granian, SQLAlchemy) pass through the same formatter.
"""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

_NOISY = ("kombu", "amqp", "urllib3", "stripe", "python_http_client", "celery.redirected", "limits")


def set_up_logs(level: str, *, process: str) -> None:
    """Send every log line of this process to standard output as JSON, naming the process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_process(process),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_to_json)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(lambda event, **options: _to_json(event, **options).decode()),
            ],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def bind_request_id(request_id: str) -> None:
    """Put the request id on every line that follows in this context."""
    structlog.contextvars.bind_contextvars(request_id=request_id)


def current_request_id() -> str | None:
    """Return the request id of this context."""
    value = structlog.contextvars.get_contextvars().get("request_id")
    return str(value) if value is not None else None


def forget_context() -> None:
    """Take everything off that was bound in this context."""
    structlog.contextvars.clear_contextvars()


def _name_process(process: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return add


def _to_json(event: Any, **_options: Any) -> bytes:
    return orjson.dumps(event, default=str)
