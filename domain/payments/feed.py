"""The provider's own list of its events, read after the webhooks: what these did not bring is stored as if they had.

Handling the events is in `events.py`. With this nothing depends on a webhook ever arriving.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from domain import webhooks
from domain.errors import VendorError
from domain.models import PaymentFeed
from domain.ports import PaymentGateway, ProviderEvent

log = logging.getLogger(__name__)

PROVIDER = "stripe"
PAGE = 100
"""The most that the provider gives at once (docs.stripe.com/api/pagination)."""
PAGES = 10
"""Pages in one round; with the sweep's period they pace the calls to the provider."""
FIRST_LOOK = timedelta(hours=1)
SETTLING = timedelta(minutes=1)
"""Events do not appear in the exact order of their making, so the last minute is read again in the next round."""
HEARD = ("payment_intent.", "charge.dispute.", "refund.")
"""What the webhook is registered for, too: of the provider's many other events nothing follows here."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    last_event_id: str | None
    read_until: datetime


def read_feed(sessions: sessionmaker[Session], gateway: PaymentGateway, now: datetime) -> int:
    """Store what happened since the last round, page by page; return how many events were new.

    A round that is cut off, by the provider or because another one is faster, is continued by the next.
    """
    with sessions.begin() as session:
        kept = _find_cursor(session, now)
    stored, place = 0, kept
    for _ in range(PAGES):
        # No transaction is open here.
        try:
            events = gateway.list_events(place.last_event_id, place.read_until, PAGE)
        except VendorError as error:
            log.warning("feed.unread code=%s", error.code)
            break
        place = _behind(events, place)
        reached = _behind(list(takewhile(lambda event: _made_at(event) <= now - SETTLING, events)), kept)
        with sessions.begin() as session:
            if not _move_cursor(session, kept, reached):
                break
            stored += webhooks.store(session, PROVIDER, [event for event in events if event.type.startswith(HEARD)])
        kept = reached
        if len(events) < PAGE:
            break
    return stored


def _find_cursor(session: Session, now: datetime) -> _Cursor:
    session.execute(insert(PaymentFeed).values(provider=PROVIDER, read_until=now - FIRST_LOOK).on_conflict_do_nothing())
    feed = session.get_one(PaymentFeed, PROVIDER)
    return _Cursor(feed.last_event_id, feed.read_until)


def _move_cursor(session: Session, before: _Cursor, after: _Cursor) -> bool:
    """Move the cursor on, unless somebody else has moved it, or is about to."""
    feed = session.scalar(
        select(PaymentFeed)
        .where(PaymentFeed.provider == PROVIDER, PaymentFeed.read_until == before.read_until)
        .where(PaymentFeed.last_event_id.is_not_distinct_from(before.last_event_id))
        .with_for_update(skip_locked=True)
    )
    if feed is None:
        return False
    feed.last_event_id, feed.read_until = after.last_event_id, after.read_until
    return True


def _behind(events: Sequence[ProviderEvent], cursor: _Cursor) -> _Cursor:
    return _Cursor(events[-1].id, max(cursor.read_until, _made_at(events[-1]))) if events else cursor


def _made_at(event: ProviderEvent) -> datetime:
    return datetime.fromtimestamp(event.payload["created"], UTC)
