import base64
from io import BytesIO

import pytest
import zxingcpp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image
from sqlalchemy import select
from uuid_utils.compat import uuid7

from adapters.qr_renderer import QRRenderer
from domain.models import Ticket
from domain.ports import TicketClaims
from domain.rules.states import EventStatus, OrderStage, TicketStatus
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UserFactory, bound_to

API = "/api/v1"
TICKETS = f"{API}/tickets"


@pytest.fixture
def holder(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


@pytest.fixture
def mine(log_in, holder):
    return log_in(holder)


@pytest.fixture
def theirs(log_in, sessions):
    with sessions.begin() as session:
        return log_in(UserFactory(session=session))


@pytest.fixture
def ticket(sessions, holder, services):
    """Return a ticket with a real signature and a real picture."""
    with sessions.begin() as session, bound_to(session):
        event = EventFactory(title="Nordic Noise", venue_name="Harbour Stage")
        order = OrderFactory(
            stage=OrderStage.COMPLETE, user=holder, tier=TicketTierFactory(event=event, name="Standing")
        )
        ticket = session.scalars(select(Ticket).where(Ticket.order_id == order.id)).one()
        ticket.qr_payload = services.signer.sign(TicketClaims(ticket.event_id, ticket.code, ticket.code_version))
        ticket.qr_image = base64.b64encode(QRRenderer().png(ticket.qr_payload)).decode()
        return ticket


def change(sessions, ticket, **values):
    with sessions.begin() as session:
        found = session.get_one(Ticket, ticket.id)
        for name, value in values.items():
            setattr(found, name, value)


class TestListing:
    def test_lists_what_one_holds_newest_first(self, mine, holder, sessions):
        with sessions.begin() as session, bound_to(session):
            OrderFactory(stage=OrderStage.COMPLETE, user=holder, quantity=3)
            OrderFactory(stage=OrderStage.COMPLETE, quantity=2)
            ids = session.scalars(
                select(Ticket.id).where(Ticket.holder_id == holder.id).order_by(Ticket.id.desc())
            ).all()
        answer = mine.get(TICKETS)
        assert answer.status_code == 200
        assert [item["id"] for item in answer.json["items"]] == [str(ticket_id) for ticket_id in ids]
        assert answer.json["next_cursor"] is None
        assert answer.headers["Cache-Control"] == "private, no-store"

    def test_pages_through_all_of_them_once(self, mine, holder, sessions):
        with sessions.begin() as session:
            OrderFactory(session=session, stage=OrderStage.COMPLETE, user=holder, quantity=5)
        seen, cursor = [], None
        while True:
            page = mine.get(TICKETS, query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})).json
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 5

    def test_nobody_has_any_at_first(self, mine):
        assert mine.get(TICKETS).json == {"items": [], "next_cursor": None}

    @pytest.mark.parametrize(
        "query",
        [{"cursor": "x"}, {"limit": 0}, {"limit": 101}, {"limit": "many"}, {"offset": 1}, {"cursor": "WyIxIl0"}],
    )
    def test_refuses_arguments_that_make_no_sense(self, mine, query):
        answer = mine.get(TICKETS, query_string=query)
        assert (answer.status_code, answer.json["code"]) == (422, "validation-failed")
        assert answer.json["errors"][0]["pointer"] == f"/{next(iter(query))}"

    def test_is_for_people_who_are_logged_in(self, client):
        assert client.get(TICKETS).status_code == 401


class TestReading:
    def test_shows_what_the_ticket_is_for_and_where_its_pictures_are(self, mine, ticket, holder):
        body = mine.get(f"{TICKETS}/{ticket.id}").json
        assert (body["code"], body["status"], body["is_valid"], body["ready"]) == (ticket.code, "valid", True, True)
        assert body["qr_payload"] == ticket.qr_payload
        assert body["attendee_name"] == holder.full_name
        assert (body["event"]["title"], body["event"]["venue_name"]) == ("Nordic Noise", "Harbour Stage")
        assert body["tier"]["name"] == "Standing"
        assert body["links"]["qr_png"] == f"{TICKETS}/{ticket.id}/qr.png"
        assert mine.get(body["links"]["qr_svg"]).status_code == 200

    def test_a_disputed_ticket_is_not_valid(self, mine, ticket, sessions, clock):
        change(sessions, ticket, blocked_at=clock.now())
        body = mine.get(f"{TICKETS}/{ticket.id}").json
        assert (body["status"], body["is_valid"]) == ("valid", False)

    @pytest.mark.parametrize("part", ["", "/qr.png", "/qr.svg"])
    def test_somebody_elses_ticket_looks_like_none(self, theirs, ticket, part):
        other = theirs.get(f"{TICKETS}/{ticket.id}{part}")
        none = theirs.get(f"{TICKETS}/{uuid7()}{part}")
        assert other.status_code == none.status_code == 404
        assert other.json | {"instance": ""} == none.json | {"instance": ""}

    @pytest.mark.parametrize("name", ["1", "not-an-id", "0" * 36])
    def test_a_malformed_id_is_no_ticket(self, mine, name):
        assert mine.get(f"{TICKETS}/{name}").status_code == 404


class TestPictures:
    def test_an_independent_reader_reads_the_png_and_our_key_verifies_it(self, mine, client, ticket):
        answer = mine.get(f"{TICKETS}/{ticket.id}/qr.png")
        assert (answer.status_code, answer.content_type) == (200, "image/png")
        assert answer.headers["Cache-Control"] == "private, no-store"
        (found,) = zxingcpp.read_barcodes(Image.open(BytesIO(answer.data)), formats=zxingcpp.BarcodeFormat.QRCode)
        assert found.text == ticket.qr_payload
        keys = client.get(f"{API}/events/{ticket.event_id}/ticket-keys").json
        assert verify_as_documented(found.text, keys) == (ticket.event_id.bytes, 1, ticket.code)

    def test_the_svg_is_drawn_on_demand(self, mine, ticket):
        answer = mine.get(f"{TICKETS}/{ticket.id}/qr.svg")
        assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
        assert answer.data == QRRenderer().svg(ticket.qr_payload)

    @pytest.mark.parametrize("part", ["qr.png", "qr.svg"])
    def test_a_picture_that_is_not_drawn_yet_is_refused_for_now(self, mine, ticket, sessions, part):
        change(sessions, ticket, qr_payload=None, qr_image=None)
        answer = mine.get(f"{TICKETS}/{ticket.id}/{part}")
        assert (answer.status_code, answer.json["code"]) == (409, "conflict")
        assert "being drawn" in answer.json["detail"]
        assert mine.get(f"{TICKETS}/{ticket.id}").json["ready"] is False

    @pytest.mark.parametrize("status", [TicketStatus.REFUNDED, TicketStatus.CANCELLED])
    def test_a_ticket_that_opens_no_door_shows_no_code(self, mine, ticket, sessions, status):
        change(sessions, ticket, status=status)
        for part in ("qr.png", "qr.svg"):
            assert mine.get(f"{TICKETS}/{ticket.id}/{part}").status_code == 409


class TestKeys:
    def test_anybody_may_fetch_the_keys_of_a_public_event(self, client, ticket):
        answer = client.get(f"{API}/events/{ticket.event_id}/ticket-keys")
        assert answer.status_code == 200
        assert (answer.json["format"], answer.json["algorithm"]) == ("TV1", "Ed25519")
        (key,) = answer.json["keys"]
        assert (key["kty"], key["crv"], len(from_base64url(key["x"]))) == ("OKP", "Ed25519", 32)

    @pytest.mark.parametrize("hidden", [{"is_private": True}, {"status": EventStatus.DRAFT}])
    def test_of_hidden_events_only_their_promoter_may(self, client, mine, log_in, sessions, hidden):
        with sessions.begin() as session, bound_to(session):
            event = EventFactory(**hidden)
            promoter = event.promoter.user
        address = f"{API}/events/{event.id}/ticket-keys"
        assert client.get(address).status_code == mine.get(address).status_code == 404
        assert log_in(promoter).get(address).status_code == 200

    def test_there_are_none_without_an_event(self, client):
        assert client.get(f"{API}/events/{uuid7()}/ticket-keys").status_code == 404


def verify_as_documented(text, keys):
    """Check a ticket with nothing but what the endpoint says; return event id, version and code."""
    form, kid, body = text.split(".")
    assert form == keys["format"]
    raw = from_base64url(body)
    key = next(key for key in keys["keys"] if key["kid"] == kid)
    claims, signed = raw[:-64], raw[-64:]
    Ed25519PublicKey.from_public_bytes(from_base64url(key["x"])).verify(signed, f"{form}.{kid}.".encode() + claims)
    return claims[:16], int.from_bytes(claims[16:18], "big"), claims[18:].decode()


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
