"""Calendar files (port `CalendarWriter`): one event with its time zone, as RFC 5545 has it.

`icalendar` escapes and folds. There is no METHOD: the file is a copy to keep, not an invitation to answer (RFC 5546).
"""

from datetime import timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event

from adapters.letters import moment
from domain.ports import EventFacts

YEAR = timedelta(days=366)
PRODUCT = "-//Ticket Vendor//Tickets//EN"


class CalendarWriter:
    """Writes entries that later ones of the same event replace: the same UID, a higher SEQUENCE."""

    def __init__(self, public_url: str) -> None:
        self._host = urlsplit(public_url).hostname or "localhost"

    def write(self, event: EventFacts) -> bytes:
        """Return the event as iCalendar; the same facts give the same bytes."""
        calendar = Calendar.new(prodid=PRODUCT, uid=self._uid(event))
        calendar.add_component(self._entry(event))
        # A zone is described by its changes of clocks, so the one before the event must be in it (RFC 5545, 3.6.5).
        calendar.add_missing_timezones(event.starts_at.date() - YEAR, event.ends_at.date() + YEAR)
        content: bytes = calendar.to_ical()
        return content

    def _uid(self, event: EventFacts) -> str:
        return f"{event.id}@{self._host}"

    def _entry(self, event: EventFacts) -> Event:
        zone = ZoneInfo(event.timezone)
        entry = Event.new(
            uid=self._uid(event),
            summary=event.title,
            description=_description(event),
            location=", ".join(part for part in (event.venue, event.address) if part) or None,
            start=event.starts_at.astimezone(zone),
            end=event.ends_at.astimezone(zone),
            # Without a METHOD both say when the entry last changed (RFC 5545, 3.8.7.2).
            stamp=event.revised_at,
            last_modified=event.revised_at,
            sequence=event.revision,
        )
        if event.position is not None:
            entry.add("geo", event.position)
        entry.add("status", "CANCELLED" if event.is_cancelled else "CONFIRMED")
        return entry


def _description(event: EventFacts) -> str | None:
    doors = f"Doors open {moment(event.doors_at, event.timezone)}." if event.doors_at else None
    return "\n\n".join(part for part in (doors, event.description) if part) or None
