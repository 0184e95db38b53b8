import base64
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from domain import tickets
from domain.messages import RenderTickets, SendMail
from domain.models import Order, OrderItem, Ticket
from domain.rules.states import OrderStage, TicketStatus
from domain.transitions import lock_order
from tests.fakes.qr_renderer import FakeQRRenderer
from tests.fakes.signer import FakeSigner


class CountingRenderer(FakeQRRenderer):
    def __init__(self):
        self.drawn = []

    def png(self, text):
        self.drawn.append(text)
        return super().png(text)


@pytest.fixture
def renderer():
    return CountingRenderer()


@pytest.fixture
def issued(till):
    return till.paid(quantity=3)


def render(till, order_id, renderer):
    tickets.render(till.sessions, FakeSigner(), renderer, order_id)


class TestIssue:
    def test_every_seat_has_a_ticket_with_a_code_of_its_own(self, till, issued):
        found = till.tickets(issued)
        order = till.read(issued)
        assert [ticket.position for ticket in found] == [1, 2, 3]
        assert len({ticket.code for ticket in found}) == 3
        for ticket in found:
            assert len(ticket.code) * math.log2(64) >= 128
            assert (ticket.status, ticket.holder_id, ticket.event_id) == (
                TicketStatus.VALID,
                order.user_id,
                order.event_id,
            )
            assert ticket.qr_payload is None

    def test_attendees_are_named_where_the_buyer_named_them(self, till):
        order_id = till.hold(quantity=3)
        with till.sessions.begin() as session:
            session.execute(
                update(OrderItem)
                .where(OrderItem.order_id == order_id)
                .values(attendees=[{"name": "Grace Hopper", "email": "grace@example.com"}, {"name": "Edsger"}])
            )
        till.open(order_id)
        till.pay(order_id)
        first, second, third = till.tickets(order_id)
        assert (first.attendee_name, first.attendee_email) == ("Grace Hopper", "grace@example.com")
        assert second.attendee_name == "Edsger"
        assert second.attendee_email == third.attendee_email
        assert third.attendee_name.startswith("Ada Lovelace")

    def test_a_seat_cannot_be_issued_twice(self, till, issued):
        with till.sessions() as session:
            order = lock_order(session, issued)
            tickets.issue(session, order, till.now)
            with pytest.raises(IntegrityError, match="uq_tickets_order_item_id_position"):
                session.flush()


class TestRender:
    def test_the_last_picture_completes_the_order_and_rings_for_its_mail(self, till, issued, renderer):
        till.announced.clear()
        render(till, issued, renderer)
        assert till.read(issued).stage is OrderStage.COMPLETE
        assert till.timeline(issued)[-1] == "tickets_issued"
        for ticket in till.tickets(issued):
            claims = FakeSigner().verify(ticket.qr_payload)
            assert (claims.code, claims.event_id, claims.version) == (ticket.code, ticket.event_id, 1)
            assert base64.b64decode(ticket.qr_image) == renderer.png(ticket.qr_payload)
        assert len(till.heard(SendMail)) == 1
        assert till.mails(issued) == ["order_confirmed"]

    def test_rendering_again_draws_nothing(self, till, issued, renderer):
        render(till, issued, renderer)
        before = till.read(issued)
        render(till, issued, renderer)
        assert len(renderer.drawn) == 3
        assert till.read(issued).version == before.version

    def test_a_worker_killed_while_drawing_is_continued(self, till, issued, renderer):
        class Killed(FakeQRRenderer):
            def png(self, text):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            render(till, issued, Killed())
        assert till.read(issued).stage is OrderStage.ISSUING
        render(till, issued, renderer)
        assert till.read(issued).stage is OrderStage.COMPLETE

    def test_a_code_that_rotated_meanwhile_keeps_its_place(self, till, issued):
        rotated = till.tickets(issued)[0].id

        class Overtaken(FakeQRRenderer):
            def png(self, text):
                with till.sessions.begin() as session:
                    session.execute(update(Ticket).where(Ticket.id == rotated).values(code="r" * 22, code_version=2))
                return super().png(text)

        render(till, issued, Overtaken())
        assert till.read(issued).stage is OrderStage.ISSUING
        assert till.tickets(issued)[0].qr_payload is None
        render(till, issued, FakeQRRenderer())
        assert FakeSigner().verify(till.tickets(issued)[0].qr_payload).version == 2
        assert till.read(issued).stage is OrderStage.COMPLETE

    def test_an_order_that_was_refunded_meanwhile_gets_no_pictures(self, till, issued, renderer):
        till.refund(issued)
        render(till, issued, renderer)
        assert renderer.drawn == []
        assert till.read(issued).stage is OrderStage.CLOSED


class TestRaces:
    @pytest.fixture
    def till(self, busy_till):
        return busy_till

    def test_two_workers_at_once_complete_the_order_once(self, till, issued):
        barrier = Barrier(2)

        class Together(FakeQRRenderer):
            def png(self, text):
                barrier.wait(timeout=10)
                return super().png(text)

        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(render, till, issued, Together()) for _ in range(2)]:
                future.result(timeout=30)
        assert till.timeline(issued).count("tickets_issued") == 1
        assert till.read(issued).stage is OrderStage.COMPLETE


class TestStalled:
    def rings(self, till, before):
        with till.sessions() as session:
            return tickets.stalled(session, before)

    def test_unrendered_tickets_are_rung_for_once_per_order(self, till, issued):
        assert self.rings(till, till.now - timedelta(seconds=1)) == []
        assert self.rings(till, till.now + timedelta(seconds=1)) == [RenderTickets(issued)]

    def test_rendered_and_refunded_ones_are_not(self, till, issued, renderer):
        refunded = till.paid()
        till.refund(refunded)
        render(till, issued, renderer)
        assert self.rings(till, till.now + timedelta(seconds=1)) == []
        with till.sessions() as session:
            assert session.get_one(Order, refunded).stage is OrderStage.CLOSED
