"""Tasks of the waitlist: the mail that tells of an offer."""

from uuid import UUID

from domain import waitlist
from domain.messages import NotifyOffer
from workers.app import app, clock, sessions


@app.task(name=NotifyOffer.task)
def notify(entry_id: str) -> None:
    """Put the mail of an offer into the outbox."""
    with sessions().begin() as session:
        waitlist.notify(session, UUID(entry_id), clock.now())
