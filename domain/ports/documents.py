"""Files that people keep of a ticket and its event: what is said in them, and who writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class EventFacts:
    """What a document says of an event; `revision` grows with every edit."""

    id: UUID
    title: str
    description: str | None
    starts_at: datetime
    ends_at: datetime
    doors_at: datetime | None
    timezone: str
    venue: str | None
    address: str | None
    country: str | None
    position: tuple[float, float] | None
    """Latitude and longitude in degrees (WGS 84)."""
    is_cancelled: bool
    revised_at: datetime
    revision: int


@dataclass(frozen=True, slots=True)
class TicketFacts:
    """What a document says of a ticket that opens a door; whoever shows `qr_payload` gets in."""

    id: UUID
    code: str
    qr_payload: str
    tier: str
    attendee: str
    order_number: str
    event: EventFacts


class TicketPrinter(Protocol):
    """Tickets on paper."""

    def print(self, tickets: Sequence[TicketFacts]) -> bytes:
        """Return a PDF with a page for each ticket, of which there is one at least."""
        ...


class CalendarWriter(Protocol):
    """Files that calendars read."""

    def write(self, event: EventFacts) -> bytes:
        """Return the event as iCalendar (RFC 5545); the same facts give the same bytes."""
        ...


class PassIssuer(Protocol):
    """Passes for Apple Wallet."""

    def issue(self, ticket: TicketFacts) -> bytes:
        """Return a signed pass, a `.pkpass`."""
        ...


class PassLinker(Protocol):
    """Links by which people save a pass to Google Wallet."""

    def link(self, ticket: TicketFacts, now: datetime) -> str:
        """Return the address that saves the ticket for whoever opens it."""
        ...
