from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain.audit import Actor
from domain.errors import PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.messages import RefundPayment, ServeTier
from domain.models import PaymentTransaction, Ticket
from domain.payments import refunds
from domain.ports import STORED_ERROR, Refund
from domain.rules.states import (
    AttemptStatus,
    InventoryState,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    TicketStatus,
    UserRole,
)
from tests.factories import UserFactory

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")
CUT = UnknownOutcomeError("Stripe did not answer.", code="connection")
STORED = UnknownOutcomeError("An error occurred.", code=STORED_ERROR)
FOREVER = PermanentVendorError("That cannot be refunded.", code="invalid_request_error")
REFUSED = PermanentVendorError("Not enough money.", code="balance_insufficient")


@pytest.fixture
def paid(till):
    return till.sold(quantity=2)


class TestCarryOut:
    def test_a_part_leaves_the_order_confirmed(self, till, paid):
        till.refund(paid, 1000)
        order = till.read(paid)
        assert (order.status, order.payment_status, order.refunded) == (
            OrderStatus.CONFIRMED,
            PaymentStatus.COMPLETED,
            1000,
        )
        assert [ticket.status for ticket in till.tickets(paid)] == [TicketStatus.VALID] * 2
        assert ("refund", -1000) in till.ledger(paid)
        assert till.timeline(paid)[-2:] == ["refund_requested", "refunded"]
        assert till.mails(paid) == ["order_confirmed", "order_refunded"]

    def test_the_whole_ends_the_order_its_tickets_and_its_hold_on_the_stock(self, till, paid):
        till.refund(paid)
        order = till.read(paid)
        assert (order.stage, order.status, order.payment_status) == (
            OrderStage.CLOSED,
            OrderStatus.REFUNDED,
            PaymentStatus.REFUNDED,
        )
        assert (order.refunded, order.refunded_at) == (order.total, till.now)
        assert [ticket.status for ticket in till.tickets(paid)] == [TicketStatus.REFUNDED] * 2
        assert [item.desired_state for item in order.items] == [InventoryState.RELEASED]
        assert till.heard(ServeTier) == [ServeTier(order.items[0].tier_id)]
        assert till.timeline(paid)[-2:] == ["refund_requested", "refunded"]

    def test_parts_add_up_to_the_whole_with_their_fees(self, till, paid):
        total = till.read(paid).total
        # Each share of the fee rounded by itself would give back one too many.
        for amount in (60, 60, 60, total - 180):
            till.refund(paid, amount)
        order = till.read(paid)
        assert (order.status, order.refunded) == (OrderStatus.REFUNDED, total)
        assert sum(amount for _, amount in till.ledger(paid)) == 0
        fees = sum(amount for kind, amount in till.ledger(paid) if kind == "fee")
        assert fees == 0
        assert till.mails(paid).count("order_refunded") == 4

    def test_the_seat_of_somebody_inside_stays_sold(self, till, paid):
        with till.sessions.begin() as session:
            ticket = session.scalars(select(Ticket).where(Ticket.order_id == paid).limit(1)).one()
            ticket.status, ticket.checked_in_at = TicketStatus.USED, till.now
        till.refund(paid)
        order = till.read(paid)
        assert order.status is OrderStatus.REFUNDED
        assert [(item.desired_state, item.desired_returned) for item in order.items] == [(InventoryState.SOLD, 1)]
        assert [ticket.status for ticket in till.tickets(paid)] == [TicketStatus.REFUNDED] * 2

    def test_connected_accounts_give_their_share_back(self, till, paid, gateway, monkeypatch):
        requests = []
        refunding = gateway.refund
        monkeypatch.setattr(gateway, "refund", lambda request, key: requests.append(request) or refunding(request, key))
        till.refund(paid, 100)
        assert (requests[0].reverse_transfer, requests[0].refund_application_fee) == (True, True)

    def test_a_doubled_message_calls_once(self, till, paid, gateway):
        refund_id = till.refund(paid, 100)
        till.carry_out(refund_id)
        assert gateway.calls.count("refund") == 1
        assert till.read(paid).refunded == 100

    def test_a_refund_that_nobody_wrote_down_is_nothing(self, till, gateway):
        till.carry_out(uuid7())
        assert gateway.calls == []


class TestTrouble:
    @pytest.mark.parametrize("had_effect", [False, True])
    def test_an_unknown_outcome_repeats_the_same_key(self, till, paid, gateway, had_effect):
        refund_id = till.request_refund(paid, 700)
        gateway.fail("refund", CUT, after=had_effect)
        till.carry_out(refund_id)
        assert till.refunds(paid)[0].status is AttemptStatus.UNKNOWN
        assert till.refundable(paid) == till.read(paid).total - 700
        till.carry_out(refund_id)
        assert till.refunds(paid)[0].status is AttemptStatus.SUCCEEDED
        assert len(gateway.refunds) == 1

    def test_a_worker_killed_after_the_call_refunds_once(self, till, paid, gateway):
        refund_id = till.request_refund(paid)
        gateway.fail("refund", KeyboardInterrupt(), after=True)
        with pytest.raises(KeyboardInterrupt):
            till.carry_out(refund_id)
        till.carry_out(refund_id)
        assert len(gateway.refunds) == 1
        assert till.read(paid).status is OrderStatus.REFUNDED

    def lose(self, till, paid, gateway, *, had_effect, **values):
        """Ask for a refund of 700 whose answer is lost."""
        refund_id = till.request_refund(paid, 700, **values)
        gateway.fail("refund", CUT, after=had_effect)
        till.carry_out(refund_id)
        return refund_id

    def outlive(self, till, refund_id, gateway):
        till.advance(hours=23, minutes=1)
        till.carry_out(refund_id)
        assert gateway.calls.count("refund") == 1

    def be_told_the_stored_error(self, till, refund_id, gateway):
        gateway.fail("refund", STORED)
        till.carry_out(refund_id)

    def be_refused(self, till, refund_id, gateway):
        gateway.fail("refund", REFUSED)
        till.carry_out(refund_id)

    @pytest.mark.parametrize("end", [outlive, be_told_the_stored_error, be_refused])
    def test_a_lost_answer_is_looked_up_once_its_key_has_no_more_to_say(self, till, paid, gateway, end):
        refund_id = self.lose(till, paid, gateway, had_effect=True)
        end(self, till, refund_id, gateway)
        (refund,) = till.refunds(paid)
        assert refund.status is AttemptStatus.SUCCEEDED
        assert refund.provider_transaction_id in gateway.refunds
        assert till.read(paid).refunded == 700

    @pytest.mark.parametrize("end", [outlive, be_told_the_stored_error, be_refused])
    def test_one_that_was_never_made_gives_way_to_a_new_attempt(self, till, paid, gateway, end):
        with till.sessions.begin() as session:
            admin = Actor(UserFactory(session=session).id, UserRole.ADMIN)
        refund_id = self.lose(till, paid, gateway, had_effect=False, actor=admin)
        end(self, till, refund_id, gateway)
        first, second = till.refunds(paid)
        assert (first.status, first.error_code) == (AttemptStatus.FAILED, "lost")
        assert (second.amount, second.requested_by_id) == (700, admin.user_id)
        assert second.idempotency_key == f"order:{paid}:refund:2"
        assert till.refundable(paid) == till.read(paid).total - 700
        assert "refund_failed" not in till.timeline(paid)
        till.carry_out(second.id)
        assert till.read(paid).refunded == 700
        assert len(gateway.refunds) == 1

    def test_a_refusal_after_its_event_came_first_changes_nothing(self, till, paid, gateway, monkeypatch):
        refunding = gateway.refund
        refund_id = till.request_refund(paid, 700)

        def overtaken(request, key):
            made = replace(refunding(request, key), status="pending")
            gateway.refunds[made.id] = made
            named = {"object": "refund", "id": made.id, "metadata": {"refund_id": str(refund_id)}}
            till.receive(till.event(named, "refund.created"))
            raise REFUSED

        monkeypatch.setattr(gateway, "refund", overtaken)
        till.carry_out(refund_id)
        (refund,) = till.refunds(paid)
        assert refund.status is AttemptStatus.PROCESSING

    def test_a_look_up_that_fails_is_repeated(self, till, paid, gateway):
        refund_id = self.lose(till, paid, gateway, had_effect=True)
        till.advance(hours=24)
        gateway.fail("find_refund_by_reference", DOWN)
        till.carry_out(refund_id)
        assert till.refunds(paid)[0].is_pending
        till.carry_out(refund_id)
        assert till.refunds(paid)[0].status is AttemptStatus.SUCCEEDED

    def test_what_surely_did_nothing_keeps_the_key_fresh_however_long_it_lasts(self, till, paid, gateway):
        refund_id = till.request_refund(paid, 700)
        for _ in range(3):
            gateway.fail("refund", DOWN)
            till.carry_out(refund_id)
            till.advance(hours=12)
        till.carry_out(refund_id)
        (refund,) = till.refunds(paid)
        assert refund.status is AttemptStatus.SUCCEEDED
        assert "find_refund_by_reference" not in gateway.calls

    def test_a_call_that_did_nothing_says_nothing_of_an_earlier_one(self, till, paid, gateway):
        refund_id = self.lose(till, paid, gateway, had_effect=True)
        gateway.fail("refund", DOWN)
        till.carry_out(refund_id)
        till.advance(hours=24)
        till.carry_out(refund_id)
        assert gateway.calls.count("refund") == 2
        assert len(gateway.refunds) == 1
        assert till.refunds(paid)[0].status is AttemptStatus.SUCCEEDED

    def test_a_refund_that_turns_up_after_it_was_replaced_is_booked_as_one_of_nobody(self, till, paid, gateway, caplog):
        refund_id = self.lose(till, paid, gateway, had_effect=False)
        self.be_told_the_stored_error(till, refund_id, gateway)
        charge = till.charge(paid)
        gateway.refunds["re_x"] = Refund("re_x", "succeeded", 700, charge.currency, charge.provider_transaction_id)
        till.gateway.add_event(
            "refund.created",
            {
                "object": "refund",
                "id": "re_x",
                "payment_intent": charge.provider_transaction_id,
                "metadata": {"refund_id": str(refund_id)},
            },
        )
        till.hear(till.gateway.events[-1])
        assert "refund.foreign" in caplog.text
        assert till.read(paid).refunded == 700

    def test_an_unknown_outcome_is_known_by_its_event(self, till, paid, gateway):
        refund_id = till.request_refund(paid, 700)
        gateway.fail("refund", CUT, after=True)
        till.carry_out(refund_id)
        (made,) = gateway.refunds
        till.receive(
            till.event({"object": "refund", "id": made, "metadata": {"refund_id": str(refund_id)}}, "refund.created")
        )
        assert till.refunds(paid)[0].status is AttemptStatus.SUCCEEDED
        assert till.read(paid).refunded == 700

    @pytest.mark.parametrize("name", ["no-uuid", str(UUID(int=1))])
    def test_a_refund_of_somebody_else_is_kept_in_the_inbox(self, till, paid, name):
        event = till.event(
            {"object": "refund", "id": "re_elsewhere", "metadata": {"refund_id": name}}, "refund.created"
        )
        till.receive(event)
        assert till.inbox(event).processed_at is None

    def test_a_refund_whose_answer_we_have_is_no_other_one(self, till, paid, gateway):
        refund_id = till.refund(paid, 700)
        (made,) = gateway.refunds.values()
        gateway.refunds["re_other"] = replace(made, id="re_other")
        other = {"object": "refund", "id": "re_other", "metadata": {"refund_id": str(refund_id)}}
        event = till.event(other, "refund.created")
        till.receive(event)
        assert till.inbox(event).processed_at is None

    def test_a_charge_is_not_taken_for_a_refund(self, till, gateway):
        held = till.hold()
        gateway.fail("open_intent", CUT)
        till.open(held)
        charge = till.charge(held)
        gateway.refunds["re_x"] = Refund("re_x", "succeeded", charge.amount, charge.currency, None)
        named = {"object": "refund", "id": "re_x", "metadata": {"refund_id": str(charge.id)}}
        event = till.event(named, "refund.created")
        till.receive(event)
        assert till.inbox(event).processed_at is None
        assert till.charge(held).provider_transaction_id is None

    def test_a_refund_that_differs_from_what_we_asked_for_is_not_believed(self, till, paid, gateway):
        refund_id = till.request_refund(paid, 700)
        gateway.fail("refund", CUT, after=True)
        till.carry_out(refund_id)
        (made,) = gateway.refunds
        gateway.refunds[made] = replace(gateway.refunds[made], amount=9)
        till.receive(
            till.event({"object": "refund", "id": made, "metadata": {"refund_id": str(refund_id)}}, "refund.created")
        )
        assert till.refunds(paid)[0].error_code == "mismatch"
        assert till.read(paid).refunded == 0

    def test_trouble_that_comes_after_anothers_success_changes_nothing(self, till, paid, gateway, monkeypatch):
        refunding = gateway.refund
        refund_id = till.request_refund(paid, 700)

        def overtaken(request, key):
            monkeypatch.setattr(gateway, "refund", refunding)
            till.carry_out(refund_id)
            raise CUT

        monkeypatch.setattr(gateway, "refund", overtaken)
        till.carry_out(refund_id)
        assert till.refunds(paid)[0].status is AttemptStatus.SUCCEEDED
        assert till.refunds(paid)[0].error_code is None

    def test_a_refusal_is_shown_and_frees_what_was_reserved(self, till, paid, gateway):
        gateway.fail("refund", FOREVER)
        till.refund(paid)
        (refund,) = till.refunds(paid)
        assert (refund.status, refund.error_code) == (AttemptStatus.FAILED, "invalid_request_error")
        assert till.timeline(paid)[-1] == "refund_failed"
        till.refund(paid)
        assert till.read(paid).status is OrderStatus.REFUNDED

    @pytest.mark.parametrize(
        "code", ["balance_insufficient", "insufficient_funds", "insufficient_balance_for_refund", "charge_disputed"]
    )
    def test_a_refusal_that_passes_is_tried_again_with_a_new_key_in_growing_pauses(self, till, paid, gateway, code):
        for _ in range(3):
            gateway.fail("refund", PermanentVendorError("Not now.", code=code))
        refund_id = till.request_refund(paid, 700)
        for _ in range(3):
            till.carry_out(till.refunds(paid)[-1].id)
        assert [refund.attempt for refund in till.refunds(paid)] == [1, 2, 3, 4]
        follower = till.refunds(paid)[-1]
        assert (follower.created_at, follower.error_code) == (till.refunds(paid)[0].created_at, code)
        with till.sessions.begin() as session:
            session.get_one(PaymentTransaction, follower.id).created_at -= timedelta(minutes=40)
        with till.sessions() as session:
            assert refunds.stalled(session, till.now + timedelta(minutes=30)) == []
            assert refunds.stalled(session, till.now + timedelta(minutes=50)) == [RefundPayment(follower.id)]
        till.carry_out(follower.id)
        assert till.read(paid).refunded == 700
        assert till.refunds(paid)[0].id == refund_id

    def test_what_another_hand_has_refunded_fails_and_is_kept_for_a_person(self, till, paid, gateway, caplog):
        charge = till.charge(paid)
        gateway.refunds["re_x"] = Refund(
            "re_x", "succeeded", charge.amount, charge.currency, charge.provider_transaction_id
        )
        till.refund(paid)
        (refund,) = till.refunds(paid)
        assert (refund.status, refund.error_code) == (AttemptStatus.FAILED, "charge_already_refunded")
        assert "refund.failed" in caplog.text
        assert [ticket.refund_id for ticket in till.tickets(paid)] == [None, None]

    def test_what_a_lost_attempt_has_refunded_after_all_is_found(self, till, paid, gateway, monkeypatch):
        refund_id = till.request_refund(paid)
        gateway.fail("refund", CUT, after=True)
        till.carry_out(refund_id)
        # The provider's list is late, too.
        monkeypatch.setattr(gateway, "find_refund_by_reference", lambda *_: None)
        self.be_told_the_stored_error(till, refund_id, gateway)
        monkeypatch.undo()
        first, second = till.refunds(paid)
        till.carry_out(second.id)
        first, second = till.refunds(paid)
        assert (first.error_code, second.status) == ("lost", AttemptStatus.SUCCEEDED)
        assert [second.provider_transaction_id] == list(gateway.refunds)
        assert till.read(paid).status is OrderStatus.REFUNDED

    def test_trouble_before_the_call_is_tried_again(self, till, paid, gateway):
        gateway.fail("refund", DOWN)
        refund_id = till.refund(paid, 700)
        assert till.refunds(paid)[0].status is AttemptStatus.CREATED
        with till.sessions() as session:
            assert refunds.stalled(session, till.now - timedelta(minutes=1)) == []
            assert refunds.stalled(session, till.now + timedelta(minutes=1)) == [RefundPayment(refund_id)]
        till.carry_out(refund_id)
        with till.sessions() as session:
            assert refunds.stalled(session, till.now + timedelta(minutes=1)) == []

    @pytest.mark.parametrize(
        ("status", "ends_as"), [("succeeded", "succeeded"), ("failed", "failed"), ("canceled", "failed")]
    )
    def test_a_pending_refund_is_asked_about_until_it_ends(self, till, paid, gateway, monkeypatch, status, ends_as):
        refunding = gateway.refund

        def pend(request, key):
            refund = replace(refunding(request, key), status="pending")
            gateway.refunds[refund.id] = refund
            return refund

        monkeypatch.setattr(gateway, "refund", pend)
        refund_id = till.refund(paid, 700)
        assert till.refunds(paid)[0].status is AttemptStatus.PROCESSING
        assert till.read(paid).refunded == 0
        (made,) = gateway.refunds
        gateway.fail("find_refund", PermanentVendorError("Key revoked.", code="api_key_expired"))
        till.carry_out(refund_id)
        assert till.refunds(paid)[0].status is AttemptStatus.PROCESSING
        gateway.refunds[made] = replace(gateway.refunds[made], status=status)
        till.carry_out(refund_id)
        assert till.refunds(paid)[0].status == ends_as
        assert till.read(paid).refunded == (700 if ends_as == "succeeded" else 0)


class TestReasons:
    @pytest.fixture
    def admin(self, till):
        with till.sessions.begin() as session:
            return Actor(UserFactory(session=session).id, UserRole.ADMIN)

    def test_a_persons_words_are_not_our_reasons(self, till, paid, admin):
        till.refund(paid, reason="event_cancelled", actor=admin)
        assert till.read(paid).reason is None

    def test_a_persons_words_choose_no_letter(self, till, paid, admin):
        till.refund(paid, reason="late_payment", actor=admin)
        assert till.mails(paid) == ["order_confirmed", "order_refunded"]

    def test_a_persons_words_make_nothing_owed(self, till, paid, admin, gateway):
        gateway.fail("refund", FOREVER)
        till.refund(paid, reason="late_payment", actor=admin)
        assert len(till.refunds(paid)) == 1
        assert till.timeline(paid)[-1] == "refund_failed"
