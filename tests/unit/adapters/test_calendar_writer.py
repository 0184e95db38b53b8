from datetime import UTC, datetime, timedelta

import icalendar
import pytest

from adapters.calendar_writer import CalendarWriter
from tests.fixtures.documents import EVENT_ID, event_facts


@pytest.fixture(scope="module")
def writer():
    return CalendarWriter("https://tickets.example/shop")


def read(content):
    """Read the file back, and return its entry and its time zones."""
    calendar = icalendar.Calendar.from_ical(content)
    return calendar.events[0], calendar.timezones


def test_the_entry_says_what_is_on_in_the_time_zone_of_the_place(writer):
    content = writer.write(event_facts())
    entry, zones = read(content)
    assert (entry["summary"], entry["location"]) == ("Nordic Noise", "Harbour Stage, Kajgade 1, 1100 København, DK")
    assert entry["description"].startswith("Doors open Saturday 3 July 2027, 18:30 CEST.\n\nLoud")
    assert b"DTSTART;TZID=Europe/Copenhagen:20270703T193000\r\n" in content
    assert entry.start == datetime(2027, 7, 3, 17, 30, tzinfo=UTC)
    assert entry.end - entry.start == timedelta(hours=3, minutes=30)
    assert [zone["tzid"] for zone in zones] == ["Europe/Copenhagen"]
    assert (entry["status"], tuple(map(float, entry["geo"].to_ical().split(";")))) == (
        "CONFIRMED",
        (55.676098, 12.568337),
    )


@pytest.mark.parametrize("month", [1, 7])
@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kathmandu", "America/St_Johns", "Asia/Tokyo", "Africa/Casablanca"])
def test_the_described_zone_alone_gives_the_right_moment(writer, timezone, month):
    starts_at = datetime(2027, month, 3, 17, 30, tzinfo=UTC)
    entry, zones = read(
        writer.write(event_facts(timezone=timezone, starts_at=starts_at, ends_at=starts_at + timedelta(hours=3)))
    )
    assert all(zone.subcomponents for zone in zones)
    local = entry["dtstart"].dt.replace(tzinfo=None)
    zone = zones[0].to_tz() if zones else UTC
    assert local.replace(tzinfo=zone) == starts_at


def test_an_edit_replaces_the_entry_and_a_cancellation_strikes_it_out(writer):
    before, _ = read(writer.write(event_facts()))
    after, _ = read(writer.write(event_facts(title="Nordic Silence", revision=8, is_cancelled=True)))
    assert before["uid"] == after["uid"] == f"{EVENT_ID}@tickets.example"
    assert (before["sequence"], after["sequence"]) == (7, 8)
    assert after["status"] == "CANCELLED"


def test_what_people_typed_is_escaped_and_folded(writer):
    title = "Ärger, Rausch; \\ und\r\nEND:VEVENT\nBEGIN:VALARM" + "ü" * 200
    content = writer.write(event_facts(title=title))
    entry, _ = read(content)
    assert entry["summary"] == title.replace("\r\n", "\n")
    assert content.count(b"END:VEVENT\r\n") == 1
    assert all(len(line) <= 75 for line in content.split(b"\r\n"))
    assert content.replace(b"\r\n", b"").count(b"\n") == 0


def test_the_same_facts_give_the_same_bytes(writer):
    bare = event_facts(doors_at=None, venue=None, address=None, position=None, description=None)
    content = writer.write(bare)
    assert content == writer.write(bare)
    assert not {b"GEO", b"LOCATION", b"DESCRIPTION", b"METHOD"} & {
        line.split(b":")[0] for line in content.split(b"\r\n")
    }
