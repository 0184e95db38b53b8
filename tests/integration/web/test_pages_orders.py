import base64
import re
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
import zxingcpp
from PIL import Image
from sqlalchemy import select
from uuid_utils.compat import uuid7

from adapters.qr_renderer import QRRenderer
from domain.mail_links import offer_path, order_path
from domain.models import Event, Order, PaymentTransaction, Ticket, TicketTier, User
from domain.one_time_tokens import TokenKeyring
from domain.rules.lifecycle import ENDED
from domain.rules.states import (
    EventStatus,
    OrderReason,
    OrderSource,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    TicketStatus,
)
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, TimelineEntryFactory, UserFactory, bound_to
from web.app import create_app
from web.pages import wording
from web.services import Services

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def make(sessions):
    """Return a maker of orders at an event in Copenhagen."""

    def make(stage, *, event=None, **values):
        with sessions.begin() as session, bound_to(session):
            event = EventFactory(
                **{
                    "title": "Nordic Noise",
                    "venue_name": "Harbour Stage",
                    "city": "Copenhagen",
                    "country": "DK",
                    "timezone": "Europe/Copenhagen",
                    "starts_at": datetime(2027, 7, 4, 17, 30, tzinfo=UTC),
                    **(event or {}),
                }
            )
            tier = TicketTierFactory(event=event, name="Standing", price=4_500)
            return OrderFactory(**{"stage": stage, "tier": tier, "quantity": 2, **values})

    return make


@pytest.fixture
def drawn(sessions, make):
    """Return a complete order whose tickets have real pictures."""
    order = make(OrderStage.COMPLETE)
    with sessions.begin() as session:
        for ticket in session.scalars(select(Ticket).where(Ticket.order_id == order.id)):
            ticket.qr_image = base64.b64encode(QRRenderer().png(ticket.qr_payload)).decode()
    return order


@pytest.fixture
def read(client, services):
    """Open the link of an order as a person without an account's session does."""

    def read(order):
        answer = client.get(order_path(services.tokens, order.id))
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        return answer.get_data(as_text=True)

    return read


def change(sessions, model, row_id, **values):
    with sessions.begin() as session:
        row = session.get_one(model, row_id)
        for name, value in values.items():
            setattr(row, name, value)


def tickets_of(sessions, order):
    with sessions() as session:
        return session.scalars(select(Ticket).where(Ticket.order_id == order.id).order_by(Ticket.position)).all()


class TestLink:
    def test_opens_the_page_for_a_stranger(self, read, make):
        page = read(make(OrderStage.QUEUED))
        assert "You are in line" in page
        assert 'name="viewport"' in page

    @pytest.mark.parametrize("token", [None, "", "x" * 43, "x" * 5000, "\N{SNOWMAN}", "\x00"])
    def test_without_its_token_looks_like_an_order_that_is_none(self, client, make, services, token):
        order = make(OrderStage.QUEUED)
        query = {} if token is None else {"token": token}
        refused = client.get(f"/orders/{order.id}", query_string=query)
        unknown = client.get(order_path(services.tokens, uuid7()))
        assert (refused.status_code, unknown.status_code) == (404, 404)
        assert refused.mimetype == "text/html"
        assert refused.data == unknown.data

    def test_of_another_row_or_purpose_opens_nothing(self, client, make, services):
        order, other = make(OrderStage.QUEUED), make(OrderStage.QUEUED)
        keyring = services.tokens
        one_time = keyring.token(order.id, keyring.current)
        foreign = [order_path(keyring, other.id), offer_path(keyring, order.id), f"?token={one_time}"]
        for link in foreign:
            assert client.get(f"/orders/{order.id}?{link.partition('?')[2]}").status_code == 404

    def test_outlives_the_rotation_of_its_key_but_not_its_removal(self, client, make, services):
        order = make(OrderStage.QUEUED)
        kid, key = next(iter(services.tokens.keys.items()))
        link = order_path(services.tokens, order.id)
        services.__dict__["tokens"] = TokenKeyring({"new": b"n" * 32, kid: key})
        assert client.get(link).status_code == 200
        assert client.get(order_path(services.tokens, order.id)).status_code == 200
        services.__dict__["tokens"] = TokenKeyring({"new": b"n" * 32})
        assert client.get(link).status_code == 404

    def test_of_a_closed_account_opens_nothing(self, client, make, services, sessions):
        order = make(OrderStage.COMPLETE)
        change(sessions, User, order.user_id, is_active=False)
        assert client.get(order_path(services.tokens, order.id)).status_code == 404

    def test_is_for_one_order_even_if_its_buyer_is_an_admin(self, client, make, services, sessions):
        mine, other = make(OrderStage.QUEUED), make(OrderStage.QUEUED)
        change(sessions, User, mine.user_id, role="admin")
        token = order_path(services.tokens, mine.id).partition("?")[2]
        assert client.get(f"/orders/{mine.id}?{token}").status_code == 200
        assert client.get(f"/orders/{other.id}?{token}").status_code == 404

    def test_changes_nothing(self, client, make, services, sessions, announced):
        order = make(OrderStage.AWAITING_PAYMENT)
        announced.clear()
        path = order_path(services.tokens, order.id)
        assert [client.get(path).status_code, client.head(path).status_code] == [200, 200]
        assert [client.post(path).status_code, client.delete(path).status_code] == [405, 405]
        with sessions() as session:
            assert session.get_one(Order, order.id).version == order.version
        assert announced == []

    def test_is_not_in_the_log(self, client, make, services, capfd):
        link = order_path(services.tokens, make(OrderStage.QUEUED).id)
        client.get(link)
        client.get(link + "x")
        said = "".join(capfd.readouterr())
        assert "request.done" in said
        assert link.partition("token=")[2] not in said


class TestPrivacy:
    @pytest.mark.parametrize("query", ["", "?token=wrong"])
    def test_no_answer_is_kept_passed_on_or_listed(self, client, make, services, query):
        order = make(OrderStage.COMPLETE)
        for path in (order_path(services.tokens, order.id), f"/orders/{order.id}{query}"):
            headers = client.get(path).headers
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "private, no-store"
            assert headers["X-Robots-Tag"] == "noindex"
            assert "Set-Cookie" not in headers
            policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
            assert policy == {
                "default-src": "'none'",
                "style-src": "'self'",
                "img-src": "data:",
                "form-action": "'self'",
                "base-uri": "'none'",
                "frame-ancestors": "'none'",
            }

    def test_needs_nothing_from_outside(self, read, drawn):
        page = read(drawn)
        assert not re.search(r'(?:src|href|action)="(?!/|data:)', page)
        assert "<script" not in page
        assert " style=" not in page

    def test_shows_nothing_that_pays(self, read, make, sessions):
        order = make(OrderStage.AWAITING_PAYMENT)
        change(sessions, Order, order.id, stripe_client_secret="pi_1_secret_2", billing_email="bill@example.com")
        page = read(order)
        assert order.stripe_payment_intent_id
        for secret in ("secret_2", order.stripe_payment_intent_id, "bill@example.com"):
            assert secret not in page

    def test_what_people_wrote_cannot_become_markup(self, read, make, sessions):
        order = make(OrderStage.COMPLETE, event={"title": f"Rock {SCRIPT}", "venue_name": SCRIPT, "city": SCRIPT})
        with sessions.begin() as session:
            for tier in session.scalars(select(TicketTier)):
                tier.name = SCRIPT
            for ticket in session.scalars(select(Ticket)):
                ticket.attendee_name = f'"{SCRIPT}'
            TimelineEntryFactory(session=session, order_id=order.id, kind=SCRIPT)
        page = read(order)
        assert "<script" not in page.lower()
        assert "Rock &lt;script&gt;" in page


class TestContent:
    def test_names_number_event_place_time_and_amounts(self, read, make):
        order = make(OrderStage.AWAITING_PAYMENT)
        page = read(order)
        for words in (
            order.number,
            "Nordic Noise",
            "Harbour Stage",
            "Copenhagen, DK",
            "Sunday 4 July 2027, 19:30 CEST",
            "2 \N{MULTIPLICATION SIGN} Standing",
            "90.00\N{NO-BREAK SPACE}EUR",
        ):
            assert words in page

    def test_amounts_have_the_decimals_of_their_currency(self, read, make):
        page = read(make(OrderStage.AWAITING_PAYMENT, event={"currency": "JPY"}))
        assert "9,000\N{NO-BREAK SPACE}JPY" in page

    @pytest.mark.parametrize("stage", OrderStage)
    def test_every_stage_has_words_and_renews_itself_while_it_moves(self, read, make, stage):
        page = read(make(stage))
        assert f"<h1>{wording.STAGES[stage].title}</h1>" in page
        seconds = re.search(r'http-equiv="refresh" content="(\d+)"', page)
        assert (seconds is None) == (stage in ENDED)
        if seconds:
            assert 4 <= int(seconds[1]) <= 60

    @pytest.mark.parametrize("reason", OrderReason)
    def test_every_end_says_why(self, read, make, reason):
        page = read(make(OrderStage.CLOSED, reason=reason))
        assert "Your order was cancelled" in page
        assert wording.REASONS[reason] in page

    def test_a_declined_offer_was_declined_by_the_buyer(self, read, make):
        page = read(make(OrderStage.CLOSED, reason=OrderReason.DECLINED, source=OrderSource.WAITLIST))
        assert "You declined the offer" in page

    def test_a_refund_is_named(self, read, make, sessions):
        order = make(OrderStage.COMPLETE)
        change(sessions, Order, order.id, refunded=1_234)
        assert re.search(r"Refunded</th><td>12\.34\s+EUR", read(order))

    def test_a_refunded_order_says_so(self, read, make):
        page = read(make(OrderStage.CLOSED, status=OrderStatus.REFUNDED, payment_status=PaymentStatus.REFUNDED))
        assert "Your order was refunded" in page

    def test_a_late_payment_comes_back(self, read, make):
        values = {"reason": OrderReason.HOLD_EXPIRED, "payment_status": PaymentStatus.COMPLETED}
        assert "You get your money back" in read(make(OrderStage.CLOSED, **values))

    def test_a_cancelled_event_shows_no_codes(self, read, drawn, sessions):
        change(sessions, Event, drawn.event_id, status=EventStatus.CANCELLED, cancelled_at=datetime.now(UTC))
        page = read(drawn)
        assert "The event was cancelled" in page
        assert "You get your money back" in page
        assert "data:image" not in page

    def test_a_waiting_order_shows_its_place(self, read, make, sessions):
        first = make(OrderStage.QUEUED)
        with sessions.begin() as session, bound_to(session):
            tier = session.get_one(TicketTier, first.items[0].tier_id)
            second = OrderFactory(tier=tier)
        assert "You are next." in read(first)
        assert "You are number 2 in line." in read(second)
        change(sessions, TicketTier, tier.id, service_rate=0.01)
        assert "You are number 2 in line, about 3 minutes." in read(second)
        change(sessions, TicketTier, tier.id, is_paused=True)
        assert "The sale is paused at the moment" in read(second)

    def test_a_hold_shows_its_end_on_the_clock_of_the_event(self, read, make):
        page = read(make(OrderStage.AWAITING_PAYMENT, hold_expires_at=datetime(2027, 1, 2, 3, 4, tzinfo=UTC)))
        assert "Saturday 2 January 2027, 04:04 CET" in page

    def test_the_timeline_is_in_words_and_names_amounts(self, read, make, sessions):
        order = make(OrderStage.COMPLETE)
        at = datetime(2027, 1, 2, 3, 4, tzinfo=UTC)
        with sessions.begin() as session, bound_to(session):
            TimelineEntryFactory(order_id=order.id, at=at)
            told = {"amount": 1_050, "currency": "EUR"}
            TimelineEntryFactory(order_id=order.id, kind="refunded", data=told, at=at + timedelta(seconds=1))
            TimelineEntryFactory(order_id=order.id, kind="something_new", at=at + timedelta(seconds=2))
        shown = re.findall(r"<li><time datetime=\"[^\"]+\">([^<]+)</time><span>([^<]+)</span>", read(order))
        assert shown == [
            ("2 Jan, 04:04", "Order received"),
            ("2 Jan, 04:04", "Refunded: 10.50\N{NO-BREAK SPACE}EUR"),
            ("2 Jan, 04:04", "Something new"),
        ]


class TestTickets:
    def test_each_has_its_code_as_a_picture_that_reads(self, read, drawn, sessions):
        images = re.findall(r'src="data:image/png;base64,([^"]+)"', read(drawn))
        found = [
            zxingcpp.read_barcodes(Image.open(BytesIO(base64.b64decode(image))), formats=zxingcpp.BarcodeFormat.QRCode)[
                0
            ].text
            for image in images
        ]
        assert found == [ticket.qr_payload for ticket in tickets_of(sessions, drawn)]

    @pytest.mark.parametrize("stage", [OrderStage.ISSUING, OrderStage.CLOSED])
    def test_only_a_complete_order_has_them(self, read, make, stage):
        assert "data:image" not in read(make(stage))

    def test_one_whose_refund_is_under_way_says_so(self, read, drawn, sessions):
        first, _ = tickets_of(sessions, drawn)
        with sessions.begin() as session:
            asked = select(PaymentTransaction.id).where(PaymentTransaction.order_id == drawn.id)
            session.get_one(Ticket, first.id).refund_id = session.scalar(asked)
        assert 'class="state">Being refunded' in read(drawn)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"status": TicketStatus.REFUNDED}, "Refunded"),
            ({"status": TicketStatus.CANCELLED}, "Cancelled"),
            ({"status": TicketStatus.USED, "checked_in_at": datetime.now(UTC)}, "Used"),
            ({"blocked_at": datetime.now(UTC)}, "Blocked"),
        ],
    )
    def test_one_that_opens_no_door_shows_why_instead(self, read, drawn, sessions, values, words):
        first, second = tickets_of(sessions, drawn)
        change(sessions, Ticket, first.id, **values)
        page = read(drawn)
        assert re.search(rf'class="state">{words}', page)
        assert first.code not in page
        assert first.qr_image not in page
        assert second.qr_image in page

    def test_one_that_was_handed_on_is_nobody_elses_business(self, read, drawn, sessions):
        first, _ = tickets_of(sessions, drawn)
        with sessions.begin() as session, bound_to(session):
            friend = UserFactory(first_name="Grace")
            session.get_one(Ticket, first.id).holder_id = friend.id
            session.get_one(Ticket, first.id).attendee_name = "Grace Hopper"
        page = read(drawn)
        assert "Handed on" in page
        for private in (first.code, first.qr_image, "Grace"):
            assert private not in page


def test_the_limit_of_strangers_is_told_as_a_page_that_comes_back(settings, sessions, hasher, clock, redis, redis_url):
    limits = settings.model_copy(
        update={"rate_limits": "on", "redis_url": redis_url, "rate_limit_anonymous": "2/minute"}
    )
    client = create_app(services=Services(limits, sessions, hasher, clock)).test_client()
    path = f"/orders/{uuid7()}?token=guess"
    answers = [client.get(path) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"anonymous";q=2;w=60'
    assert answers[2].mimetype == "text/html"
    assert 'http-equiv="refresh"' in answers[2].get_data(as_text=True)
