"""Beat's jobs: each looks at rows, none depends on any message having arrived."""

from datetime import timedelta

import structlog

from adapters.queue import count_waiting
from domain import refunds, settlement, sweep
from domain.messages import Announcements
from workers.app import app, clock, dispatcher, gateway, sessions, settings

log = structlog.get_logger()


@app.task(name="sweep.ring")
def ring() -> None:
    """Ring for whatever stalled, in queues that are empty: where messages wait, the rings are among them."""
    before = clock.now() - timedelta(seconds=settings().stall_seconds)
    with sessions()() as session:
        stalled = sweep.find_stalled(session, before)
    idle = {queue for queue in {message.queue for message in stalled} if not count_waiting(app, queue)}
    rings: Announcements = {message: None for message in stalled if message.queue in idle}
    if rings:
        log.warning("sweep.rang", rings=len(rings), stalled=len(stalled))
        dispatcher()(rings)


@app.task(name="sweep.expire")
def expire() -> None:
    """End what ran out of time."""
    while expired := sweep.expire(sessions(), clock.now()):
        log.info("sweep.expired", orders=expired)
    with sessions().begin() as session:
        sweep.complete_events(session, clock.now())


@app.task(name="sweep.reconcile")
def reconcile() -> None:
    """Ask the provider about the payments whose outcome is still to come."""
    settlement.reconcile(sessions(), gateway(), clock.now())


@app.task(name="sweep.refund")
def refund() -> None:
    """Refund what was paid for cancelled events."""
    refunds.refund_cancelled_events(sessions(), clock.now())


@app.task(name="sweep.refresh")
def refresh() -> None:
    """Refresh the analytics."""
    with sessions().begin() as session:
        sweep.refresh_analytics(session)


@app.task(name="sweep.tidy")
def tidy() -> None:
    """Delete what nobody can use any more."""
    with sessions().begin() as session:
        sweep.tidy(session, clock.now())
