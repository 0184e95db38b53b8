import base64
from datetime import timedelta

import icalendar
import pypdfium2
import pytest
import zxingcpp
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.mail_links import order_path
from domain.models import Event, Promoter, Ticket, User
from domain.ports import TicketClaims
from domain.rules.states import EventStatus, OrderStage, TicketStatus, UserRole
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UserFactory, bound_to
from tests.fixtures.wallets import apple_files, google_account, new_key

API = "/api/v1"
TICKET_FILES = ("ticket.pdf", "event.ics", "ticket.pkpass", "google-wallet")


@pytest.fixture
def order(sessions, services):
    """Return a complete order of three tickets whose codes are really signed."""
    with sessions.begin() as session, bound_to(session):
        event = EventFactory(
            title="Nordic Noise",
            timezone="Europe/Copenhagen",
            description="Loud; in a good way",
            latitude=55.676098,
            longitude=12.568337,
        )
        order = OrderFactory(stage=OrderStage.COMPLETE, tier=TicketTierFactory(event=event), quantity=3)
        for ticket in tickets_of(session, order):
            ticket.qr_payload = services.signer.sign(TicketClaims(ticket.event_id, ticket.code, ticket.code_version))
        return order


@pytest.fixture
def mine(log_in, order):
    return log_in(order.user)


@pytest.fixture
def ticket(sessions, order):
    with sessions() as session:
        return tickets_of(session, order)[0]


@pytest.fixture(scope="session")
def wallet_settings(settings):
    """Return settings by which both wallets are set up."""
    apple = dict(
        zip(("apple_pass_certificate", "apple_pass_key", "apple_wwdr_certificate"), apple_files(), strict=True)
    )
    files = apple | {"google_wallet_account": google_account(new_key())}
    given = {name: base64.b64encode(file).decode() for name, file in files.items()}
    return type(settings)(_env_file=None, google_wallet_issuer_id="3388000000022000001", **given)


@pytest.fixture
def wallets(services, wallet_settings):
    object.__setattr__(services, "settings", wallet_settings)


def tickets_of(session, order):
    return session.scalars(select(Ticket).where(Ticket.order_id == order.id).order_by(Ticket.position)).all()


def change(sessions, model, row_id, **values):
    with sessions.begin() as session:
        row = session.get_one(model, row_id)
        for name, value in values.items():
            setattr(row, name, value)


def codes(content):
    """Return what a door reads on the pages of a PDF."""
    document = pypdfium2.PdfDocument(content)
    found = [
        zxingcpp.read_barcodes(page.render(scale=2).to_pil(), formats=zxingcpp.BarcodeFormat.QRCode)
        for page in document
    ]
    document.close()
    return [code.text for page in found for code in page]


def entry(content):
    (found,) = icalendar.Calendar.from_ical(content).events
    return found


class TestPDF:
    def test_a_ticket_is_printed_with_the_code_that_the_door_reads(self, mine, ticket):
        answer = mine.get(f"{API}/tickets/{ticket.id}/ticket.pdf")
        assert (answer.status_code, answer.mimetype) == (200, "application/pdf")
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="ticket.pdf"'
        assert codes(answer.data) == [ticket.qr_payload]

    def test_an_order_is_printed_without_what_was_refunded_or_handed_on(self, mine, order, sessions, log_in):
        with sessions.begin() as session, bound_to(session):
            first, second, third = tickets_of(session, order)
            friend = UserFactory()
            second.holder_id = friend.id
            third.status = TicketStatus.REFUNDED
        path = f"{API}/orders/{order.id}/tickets.pdf"
        assert codes(mine.get(path).data) == [first.qr_payload]
        assert codes(log_in(friend).get(path).data) == [second.qr_payload]

    def test_all_pages_come_in_the_order_of_their_places(self, mine, order, sessions):
        with sessions() as session:
            payloads = [ticket.qr_payload for ticket in tickets_of(session, order)]
        assert codes(mine.get(f"{API}/orders/{order.id}/tickets.pdf").data) == payloads

    def test_an_order_without_tickets_has_none_to_print(self, log_in, sessions):
        with sessions.begin() as session:
            order = OrderFactory(session=session, stage=OrderStage.QUEUED)
        answer = log_in(order.user).get(f"{API}/orders/{order.id}/tickets.pdf")
        assert (answer.status_code, answer.json["code"]) == (409, "conflict")

    def test_whoever_finds_all_seats_taken_is_asked_to_come_again(self, mine, ticket, services):
        taken = 0
        while services.print_seats.acquire(blocking=False):
            taken += 1
        answer = mine.get(f"{API}/tickets/{ticket.id}/ticket.pdf")
        assert (answer.status_code, answer.json["code"]) == (503, "busy")
        assert int(answer.headers["Retry-After"]) >= 1
        services.print_seats.release(taken)
        assert mine.get(f"{API}/tickets/{ticket.id}/ticket.pdf").status_code == 200


class TestCalendar:
    def test_the_holder_and_everybody_get_the_same_entry_of_a_public_event(self, mine, client, ticket):
        own = mine.get(f"{API}/tickets/{ticket.id}/event.ics")
        public = client.get(f"{API}/events/{ticket.event_id}/event.ics")
        assert (own.status_code, own.content_type) == (200, "text/calendar; charset=utf-8")
        assert own.data == public.data
        assert (entry(own.data)["summary"], entry(own.data)["status"]) == ("Nordic Noise", "CONFIRMED")
        assert entry(own.data)["description"] == "Loud; in a good way"
        assert entry(own.data)["geo"].to_ical() == "55.676098;12.568337"

    def test_an_edit_raises_the_sequence(self, client, ticket, sessions):
        path = f"{API}/events/{ticket.event_id}/event.ics"
        before = entry(client.get(path).data)
        change(
            sessions, Event, ticket.event_id, title="Nordic Silence", created_at=ticket.created_at - timedelta(days=1)
        )
        after = entry(client.get(path).data)
        assert after["summary"] == "Nordic Silence"
        assert after["uid"] == before["uid"]
        assert after["sequence"] > before["sequence"]

    def test_a_private_event_is_for_its_holders_and_its_promoter(self, mine, client, ticket, sessions, log_in):
        change(sessions, Event, ticket.event_id, is_private=True)
        path = f"{API}/events/{ticket.event_id}/event.ics"
        with sessions() as session:
            promoter = session.scalars(select(User).join(Promoter).join(Event).where(Event.id == ticket.event_id)).one()
        assert client.get(path).status_code == mine.get(path).status_code == 404
        assert log_in(promoter).get(path).status_code == 200
        assert mine.get(f"{API}/tickets/{ticket.id}/event.ics").status_code == 200

    def test_a_cancelled_event_is_struck_out_even_for_refunded_tickets(self, mine, ticket, sessions, clock):
        change(sessions, Ticket, ticket.id, status=TicketStatus.REFUNDED)
        path = f"{API}/tickets/{ticket.id}/event.ics"
        assert mine.get(path).status_code == 409
        change(sessions, Event, ticket.event_id, status=EventStatus.CANCELLED, cancelled_at=clock.now())
        assert entry(mine.get(path).data)["status"] == "CANCELLED"


class TestWallets:
    def test_without_a_set_up_there_is_neither_link_nor_pass(self, mine, ticket):
        links = mine.get(f"{API}/tickets/{ticket.id}").json["links"]
        assert (links["apple_wallet"], links["google_wallet"]) == (None, None)
        for part in ("ticket.pkpass", "google-wallet"):
            answer = mine.get(f"{API}/tickets/{ticket.id}/{part}")
            assert (answer.status_code, answer.json["code"]) == (404, "not-found")

    def test_with_one_the_ticket_links_to_every_file(self, mine, ticket, wallets):
        links = mine.get(f"{API}/tickets/{ticket.id}").json["links"]
        assert mine.get(f"{API}/tickets").json["items"][-1]["links"]["pdf"].endswith("/ticket.pdf")
        types = {name: mine.get(links[name]).mimetype for name in ("pdf", "calendar", "apple_wallet", "google_wallet")}
        assert types == {
            "pdf": "application/pdf",
            "calendar": "text/calendar",
            "apple_wallet": "application/vnd.apple.pkpass",
            "google_wallet": "application/json",
        }
        assert mine.get(links["google_wallet"]).json["url"].startswith("https://pay.google.com/gp/v/save/ey")


class TestAccess:
    @pytest.mark.parametrize("part", TICKET_FILES)
    def test_a_ticket_is_its_holders_alone(self, client, log_in, sessions, ticket, wallets, part):
        with sessions.begin() as session, bound_to(session):
            others = [UserFactory(role=role) for role in UserRole]
        path = f"{API}/tickets/{ticket.id}/{part}"
        assert client.get(path).status_code == 401
        for other in others:
            answer = log_in(other).get(path)
            assert answer.status_code == 404
            none = log_in(other).get(f"{API}/tickets/{uuid7()}/{part}")
            assert answer.json | {"instance": ""} == none.json | {"instance": ""}

    def test_an_orders_pdf_is_its_holders_alone(self, client, log_in, sessions, order):
        with sessions.begin() as session, bound_to(session):
            others = [UserFactory(role=role) for role in UserRole]
        path = f"{API}/orders/{order.id}/tickets.pdf"
        assert client.get(path).status_code == 401
        assert {log_in(other).get(path).status_code for other in others} == {404}

    @pytest.mark.parametrize("part", TICKET_FILES)
    @pytest.mark.parametrize(
        "values",
        [{"status": TicketStatus.REFUNDED}, {"status": TicketStatus.CANCELLED}, {"qr_payload": None, "qr_image": None}],
    )
    def test_what_opens_no_door_has_no_document(self, mine, ticket, sessions, wallets, part, values):
        change(sessions, Ticket, ticket.id, **values)
        answer = mine.get(f"{API}/tickets/{ticket.id}/{part}")
        assert (answer.status_code, answer.json["code"]) == (409, "conflict")


class TestPages:
    @pytest.fixture
    def link(self, services, order):
        """Return the address of a file of the order's page, with the token of the mail."""
        path, _, token = order_path(services.tokens, order.id).partition("?")
        return lambda part: f"{path}/{part}?{token}"

    def test_the_orders_page_leads_to_its_files(self, client, services, order, ticket, link, wallets):
        page = client.get(order_path(services.tokens, order.id)).get_data(as_text=True)
        apple, google = (link(f"tickets/{ticket.id}/{part}") for part in ("ticket.pkpass", "google-wallet"))
        for path in (link("tickets.pdf"), link("event.ics"), apple, google):
            assert f'href="{path}"' in page
        assert len(codes(client.get(link("tickets.pdf")).data)) == 3
        assert entry(client.get(link("event.ics")).data)["summary"] == "Nordic Noise"
        assert client.get(apple).mimetype == "application/vnd.apple.pkpass"
        answer = client.get(google)
        assert (answer.status_code, answer.headers["Location"][:33]) == (303, "https://pay.google.com/gp/v/save/")

    def test_a_link_without_its_token_or_to_another_orders_ticket_leads_nowhere(
        self, client, order, ticket, link, sessions, wallets
    ):
        with sessions.begin() as session, bound_to(session):
            other = tickets_of(session, OrderFactory(stage=OrderStage.COMPLETE, user=order.user))[0]
        for part in ("tickets.pdf", "event.ics", f"tickets/{ticket.id}/ticket.pkpass"):
            assert client.get(f"/orders/{order.id}/{part}").status_code == 404
        assert client.get(link(f"tickets/{other.id}/google-wallet")).status_code == 404

    def test_without_tickets_that_open_a_door_there_is_nothing_to_print(self, client, services, order, link, sessions):
        with sessions.begin() as session:
            for ticket in tickets_of(session, order):
                ticket.status = TicketStatus.CANCELLED
        assert "tickets.pdf" not in client.get(order_path(services.tokens, order.id)).get_data(as_text=True)
        assert client.get(link("tickets.pdf")).status_code == 409
