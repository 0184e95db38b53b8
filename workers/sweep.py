"""Beat's jobs: each looks at rows, none depends on any message having arrived."""

import time
from datetime import timedelta

import structlog

from adapters.queue import find_idle
from domain import analytics, approvals, mailings, payout_accounts, sweep, transfers
from domain.invariants import inspection
from domain.messages import NOTIFICATIONS, PAYMENTS, ReadFeed
from domain.payments import cancelled_events, reconciliation, statements
from workers.app import app, clock, clocks, dispatcher, sessions, settings

log = structlog.get_logger()

RINGS_IN_BUSY_QUEUE = 50
"""So many of the longest waiting are rung for in any case: a broker may have been wiped while new messages came."""
ORDERS_IN_BUSY_QUEUE = 10
"""So many orders of cancelled events are undone beside other work: thousands of refunds at once would stand in front of
the payments of every other event, whose buyers' clocks run.
"""
MAILS_IN_BUSY_QUEUE = 10
"""So many mails to all of an event are written beside those that a buyer waits for."""

AUDIT_SECONDS = 2.0
"""After so long a round looks at no other event: clocks run out meanwhile, and this process ends them."""


@app.task(name="sweep.ring")
def ring() -> None:
    """Ring for whatever stalled; in a queue where messages wait the ring is probably among them, so only for a few."""
    before = clock.now() - timedelta(seconds=settings().stall_seconds)
    with sessions()() as session:
        stalled = sweep.find_stalled(session, before)
    idle = find_idle(app, {message.queue for message in stalled})
    if rings := sweep.choose(stalled, idle, in_busy_queues=RINGS_IN_BUSY_QUEUE):
        log.warning("sweep.rang", rings=len(rings), stalled=len(stalled))
        dispatcher()(dict.fromkeys(rings))


@app.task(name="sweep.expire")
def expire() -> None:
    """End what ran out of time."""
    while expired := sweep.expire(sessions(), clock.now(), clocks()):
        log.info("sweep.expired", orders=expired)
    with sessions().begin() as session:
        sweep.complete_events(session, clock.now())
    while transfers.expire(sessions(), clock.now()):
        pass


@app.task(name="sweep.tell_of_approvals")
def tell_of_approvals() -> None:
    """Tell buyers and teams of orders that await approval."""
    while approvals.tell_buyers(sessions()):
        pass
    approvals.tell_teams(sessions(), clock.now())


@app.task(name="sweep.reconcile")
def reconcile() -> None:
    """Ring for the payments whose outcome is still to come, unless the workers have not come to the last rings."""
    if find_idle(app, {PAYMENTS}):
        with sessions().begin() as session:
            reconciliation.reconcile(session, clock.now())


@app.task(name="sweep.read_accounts")
def read_accounts() -> None:
    """Ring for the promoters' accounts that were not read for a while, unless the last rings are still waiting."""
    if find_idle(app, {PAYMENTS}):
        with sessions().begin() as session:
            payout_accounts.ring_for_readings(session, clock.now())


@app.task(name="sweep.feed")
def feed() -> None:
    """Ring for the payment provider's events to be read, unless the workers have not come to the last rings."""
    if find_idle(app, {PAYMENTS}):
        dispatcher()({ReadFeed(): None})


@app.task(name="sweep.refund")
def refund() -> None:
    """Refund what was paid for cancelled events, only a few while the workers have not come to the last refunds."""
    limit = cancelled_events.BATCH if find_idle(app, {PAYMENTS}) else ORDERS_IN_BUSY_QUEUE
    cancelled_events.refund_cancelled_events(sessions(), clock.now(), clocks(), limit)


@app.task(name="sweep.mail")
def mail() -> None:
    """Write the next mails to all of an event, only a few while the workers have not come to the last mails."""
    with sessions().begin() as session:
        mailings.begin_reminders(session, clock.now())
    pace = round(settings().mailings_per_minute * settings().sweep_seconds / 60)
    mailings.carry_on(sessions(), clock.now(), pace if find_idle(app, {NOTIFICATIONS}) else MAILS_IN_BUSY_QUEUE)


@app.task(name="sweep.refresh")
def refresh() -> None:
    """Refresh the analytics."""
    analytics.refresh(sessions())


@app.task(name="sweep.state")
def state() -> None:
    """Ask for the statements of the events whose money moved lately; what does not agree is logged as they are made."""
    with sessions().begin() as session:
        statements.request_recent(session, clock.now())


@app.task(name="sweep.tidy")
def tidy() -> None:
    """Delete what nobody can use any more."""
    with sessions().begin() as session:
        sweep.tidy(session, clock.now())


@app.task(name="sweep.audit")
def audit() -> None:
    """Look at the invariants of the events that are due, and heal what can be healed; alarms are logged there."""
    ends = time.monotonic() + AUDIT_SECONDS
    with sessions()() as session:
        due = inspection.find_due(session, clock.now())
    for event_id in due:
        inspection.inspect_event(sessions(), event_id, clock.now(), settings().step_patience)
        if time.monotonic() > ends:
            return
