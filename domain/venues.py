"""Where an event is, in one line for people: the same in mails, on tickets and in calendars."""

from domain.models import Event

ADDRESS = ("address_line1", "address_line2", "postal_code", "city", "region", "country")
"""The fields of an event that make its address."""


def address_of(event: Event, **parts: str | None) -> str | None:
    """Write an event's address in one line, with some of its parts as they were; None if nothing is known of it."""
    line1, line2, postal_code, city, region, country = (parts.get(name, getattr(event, name)) for name in ADDRESS)
    town = " ".join(part for part in (postal_code, city) if part)
    return ", ".join(part for part in (line1, line2, town, region, country) if part) or None
