"""Whether the process lives, whether the system sells, and the metrics: for machines, and without secrets.

Keep these addresses inside: a proxy in front of the public ones need not pass them on.
"""

from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Response, current_app
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

import wiring
from adapters.broker import BrokerError
from domain import health
from web import metrics
from web.auth import public
from web.nouns import Noun
from web.openapi import describes
from web.probes import Probe
from web.problems import Problem
from web.rate_limits import unlimited
from web.responses import answer
from web.schemas.base import ResponseBody
from web.services import Services, services

EXTENSION = "ticket_vendor_readiness"
DEADLINE = 0.8
"""Each part has less than a second to answer, and all are asked at once."""
ANSWERS_KEPT = 0.5

blueprint = Noun("health", "For orchestrators and Prometheus.")


class Alive(ResponseBody):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Part(ResponseBody):
    """One part of the system."""

    ok: bool
    detail: Annotated[str, Field(examples=["answers"])]


class Ready(ResponseBody):
    """The system sells."""

    status: Literal["ready"] = "ready"
    parts: Annotated[dict[str, Part], Field(description="database, broker, and line: how long the oldest order waits.")]


class Readiness:
    """Asks the parts."""

    def __init__(self, found: Services) -> None:
        self._services = found
        self._broker = wiring.open_broker(found.settings, timeout_seconds=DEADLINE / 2)
        self._line = Probe(self._read_line, keep=ANSWERS_KEPT)
        self._ping = Probe(self._broker.ping, keep=ANSWERS_KEPT)

    def parts(self) -> dict[str, Part]:
        """Return what each part says, within a second."""
        line, ping = self._line.ask(), self._ping.ask()
        database, broker = _hear(line), _hear(ping)
        return {"database": database, "broker": broker, "line": self._judge(line) if database.ok else database}

    def _read_line(self) -> datetime | None:
        with self._services.sessions() as session:
            return health.oldest_waiting(health.waiting_lines(session))

    def _judge(self, line: Future[datetime | None]) -> Part:
        since = line.result(0)
        if since is None:
            return Part(ok=True, detail="nobody waits")
        age = max(0.0, (self._services.clock.now() - since).total_seconds())
        return Part(
            ok=age <= self._services.settings.ready_age_seconds, detail=f"the oldest order has waited {age:.1f} s"
        )


def _hear(future: Future[Any]) -> Part:
    try:
        future.result(DEADLINE)
    except LateError:
        return Part(ok=False, detail="does not answer in time")
    except (SQLAlchemyError, BrokerError) as error:
        # Addresses and statements are nobody's business here; the log has them.
        return Part(ok=False, detail=f"fails ({type(error).__name__})")
    return Part(ok=True, detail="answers")


@blueprint.get("/healthz", summary="Is the process alive?", responses={200: Alive})
@public
@unlimited
def show_health() -> Response:
    """Answer. It asks nothing else, so that a lost database does not get healthy processes killed."""
    return answer(Alive())


@blueprint.get("/readyz", summary="Does the system sell?", responses={200: Ready})
@describes(problems=("unavailable",))
@public
@unlimited
def show_readiness() -> Response:
    """Ask the database and the broker, and how long the oldest order of a tier that is not paused has waited.

    503 names the part that fails in `parts`.
    """
    parts = _readiness().parts()
    failing = [name for name, part in parts.items() if not part.ok]
    if failing:
        told = {name: part.model_dump() for name, part in parts.items()}
        raise Problem(
            "unavailable", f"Not ready: {', '.join(failing)}.", headers={"Retry-After": "1"}, extra={"parts": told}
        )
    return answer(Ready(parts=parts), headers={"Cache-Control": "no-store"})


@blueprint.get("/metrics", summary="Metrics for Prometheus", responses={200: None})
@describes(media_types={200: "text/plain"})
@public
@unlimited
def show_metrics() -> Response:
    """Return request latencies by endpoint and status, and gauges of what waits in rows and queues."""
    body, media_type = metrics.render()
    return Response(body, content_type=media_type)


def _readiness() -> Readiness:
    """Return this app's way to ask the parts, made when it is first needed."""
    found: Readiness | None = current_app.extensions.get(EXTENSION)
    return found or current_app.extensions.setdefault(EXTENSION, Readiness(services()))
