"""The promoter's desk: lists, exports and figures of an event."""

import csv
import io
import zipfile
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from domain import analytics
from domain.models import AnalyticsRefresh, AuditLog
from domain.rules.states import OrderStage, TeamRight, UserRole
from tests.factories import (
    EventFactory,
    OrderFactory,
    PromoterFactory,
    TeamMemberFactory,
    TicketTierFactory,
    UserFactory,
)
from web.exports import XLSX

LISTS = ("orders", "attendees")
EXPORTS = ("orders.csv", "orders.xlsx", "attendees.csv", "attendees.xlsx")
NOUNS = (*LISTS, *EXPORTS, "analytics")
SCANNERS_SEE = {"attendees"}


@pytest.fixture
def event(rows, promoter):
    event = EventFactory(promoter=promoter)
    rows.commit()
    return event


@pytest.fixture
def tier(rows, event):
    tier = TicketTierFactory(event=event, name="Front")
    rows.commit()
    return tier


@pytest.fixture
def orders(rows, tier):
    buyer = UserFactory(first_name="=1+1", last_name="Hopper", email="grace@navy.example")
    orders = [
        OrderFactory(tier=tier),
        OrderFactory(tier=tier, stage=OrderStage.COMPLETE, quantity=2, user=buyer),
    ]
    rows.commit()
    return orders


def where(event, noun):
    return f"/api/v1/events/{event.id}/{noun}"


def test_who_may_see_what(client, log_in, rows, promoter, event, orders):
    people = {
        "promoter": promoter.user,
        "admin": UserFactory(role=UserRole.ADMIN),
        "other promoter": PromoterFactory().user,
        "buyer": orders[1].user,
    }
    for right in TeamRight:
        people[right] = TeamMemberFactory(promoter_id=promoter.id, rights=[right]).user
    rows.commit()
    clients = {name: log_in(user) for name, user in people.items()}
    for noun in NOUNS:
        allowed = {"promoter", "admin", TeamRight.SELL} | ({TeamRight.SCAN} if noun in SCANNERS_SEE else set())
        assert client.get(where(event, noun)).status_code == 401, noun
        for name, somebody in clients.items():
            answer = somebody.get(where(event, noun))
            assert answer.status_code == (200 if name in allowed else 403), (noun, name)
            answer.close()
        assert clients["admin"].get(f"/api/v1/events/{uuid7()}/{noun}").status_code == 404
    event.is_private = True
    rows.commit()
    hidden = {clients["other promoter"].get(where(event, noun)).json["code"] for noun in NOUNS}
    assert hidden == {"not-found"}


def test_orders_are_listed_page_by_page_with_whom_they_are_for(seller, event, orders):
    first = seller.get(where(event, "orders"), query_string={"limit": 1}).json
    (item,) = first["items"]
    assert {name: item[name] for name in ("id", "number", "stage", "buyer_email", "tickets", "tiers", "total")} == {
        "id": str(orders[1].id),
        "number": orders[1].number,
        "stage": "complete",
        "buyer_email": "grace@navy.example",
        "tickets": 2,
        "tiers": "2 x Front",
        "total": orders[1].total,
    }
    rest = seller.get(where(event, "orders"), query_string={"limit": 1, "cursor": first["next_cursor"]}).json
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == ([str(orders[0].id)], None)


def test_attendees_are_listed_by_filters_and_a_search(seller, event, orders):
    def count(**wanted):
        return len(seller.get(where(event, "attendees"), query_string=wanted).json["items"])

    assert [count(), count(q="navy"), count(q="nobody"), count(checked_in=True)] == [2, 2, 0, 0]


@pytest.mark.parametrize(
    ("noun", "wanted", "pointer"),
    [
        ("orders", {"q": " ab "}, "/q"),
        ("orders.csv", {"stage": "lost"}, "/stage"),
        ("orders.csv", {"limit": 5}, "/limit"),
        ("attendees", {"cursor": "nonsense"}, "/cursor"),
        ("analytics", {"since": "2027-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "/since"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_place(seller, event, noun, wanted, pointer):
    answer = seller.get(where(event, noun), query_string=wanted)
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, pointer)


def test_csv_has_what_the_list_has_and_runs_nothing(seller, event, orders):
    answer = seller.get(where(event, "orders.csv"))
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("text/csv", "private, no-store")
    assert answer.headers["Content-Disposition"] == "attachment; filename=orders.csv"
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    listed = seller.get(where(event, "orders")).json["items"]
    assert [line["id"] for line in lines] == [item["id"] for item in listed]
    assert list(lines[0]) == list(listed[0])
    assert lines[0]["buyer_name"] == "'=1+1 Hopper"
    narrowed = seller.get(where(event, "orders.csv"), query_string={"stage": "queued"}).text
    assert [line["id"] for line in csv.DictReader(io.StringIO(narrowed, newline=""))] == [str(orders[0].id)]


def test_a_workbook_has_what_the_list_has(seller, event, orders):
    answer = seller.get(where(event, "attendees.xlsx"))
    assert (answer.mimetype, answer.headers["Content-Disposition"]) == (XLSX, "attachment; filename=attendees.xlsx")
    with zipfile.ZipFile(io.BytesIO(answer.data)) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
    assert sheet.count("<row ") == 3
    assert sheet.count("=1+1 Hopper") == 2
    assert "<f>" not in sheet


def test_a_workbook_that_would_be_too_large_is_refused(monkeypatch, seller, event, orders, services):
    monkeypatch.setattr("web.exports.XLSX_ROWS", 1)
    answer = seller.get(where(event, "orders.xlsx"))
    assert (answer.status_code, answer.json["code"]) == (409, "export-too-large")
    assert free_seats(services) == 2


def test_who_took_which_list_is_on_record(seller, rows, promoter, event, orders):
    seller.get(where(event, "attendees.csv"), query_string={"q": "Hopper"}).close()
    entry = rows.scalars(select(AuditLog)).one()
    assert (entry.action, entry.actor_id, entry.entity_id) == ("attendees.export", promoter.user_id, event.id)
    assert entry.new_data == {"form": "csv", "words": "given"}
    assert entry.request_id


def free_seats(services):
    count = 0
    while services.export_seats.acquire(blocking=False):
        count += 1
    for _ in range(count):
        services.export_seats.release()
    return count


class TestSeats:
    """However an export ends, somebody else can have its seat; the test's sixteen threads leave two for exports."""

    def test_few_export_at_once(self, seller, event, services):
        with services.export_seats, services.export_seats:
            for noun in EXPORTS:
                answer = seller.get(where(event, noun))
                assert (answer.status_code, answer.json["code"]) == (503, "busy")
                assert int(answer.headers["Retry-After"]) > 0
            assert seller.get(where(event, "orders")).status_code == 200
        assert free_seats(services) == 2

    def test_one_that_is_taken_in_slowly_keeps_its_seat(self, monkeypatch, seller, event, orders, services):
        monkeypatch.setattr("domain.exports.BATCH", 1)
        answer = seller.get(where(event, "orders.csv"), buffered=False)
        chunks = iter(answer.response)
        next(chunks)
        assert free_seats(services) == 1
        assert len(list(chunks)) == 2
        assert free_seats(services) == 2

    def test_a_client_that_leaves_gives_it_back(self, monkeypatch, seller, event, orders, services):
        monkeypatch.setattr("domain.exports.BATCH", 1)
        answer = seller.get(where(event, "orders.csv"), buffered=False)
        next(iter(answer.response))
        answer.close()
        assert free_seats(services) == 2

    def test_so_does_one_that_asks_for_the_head_alone_or_is_refused(self, seller, log_in, event, orders, services):
        assert seller.head(where(event, "orders.csv")).status_code == 200
        assert log_in(orders[1].user).get(where(event, "orders.csv")).status_code == 403
        assert free_seats(services) == 2


def test_figures_say_how_old_they_are(seller, rows, event, orders, sessions, clock):
    fresh = seller.get(where(event, "analytics")).json
    assert (fresh["as_of"], fresh["age_seconds"], fresh["funnel"]["accepted"]) == (None, None, 0)
    analytics.refresh(sessions)
    refreshed_at = rows.scalar(select(func.min(AnalyticsRefresh.refreshed_at)))
    clock.set(refreshed_at + timedelta(seconds=42.5))
    told = seller.get(where(event, "analytics")).json
    assert (datetime.fromisoformat(told["as_of"]), told["age_seconds"]) == (refreshed_at, 42)
    assert told["currency"] == event.currency
    assert (told["funnel"]["accepted"], told["funnel"]["paid"]) == (2, 1)
    assert sum(hour["tickets"] for hour in told["sales"]) == 2
    clock.set(refreshed_at - timedelta(seconds=5))
    assert seller.get(where(event, "analytics")).json["age_seconds"] == 0
