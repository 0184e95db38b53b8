import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from domain.messages import CancelPayment, ConfirmPayment, OpenPayment, RefundPayment, ServeTier
from domain.models import Order, PaymentTransaction, User
from domain.rules.states import OrderStage, UserRole
from tests.factories import OrderFactory, PromoterFactory, TicketTierFactory, UserFactory, bound_to

ORDERS = "/api/v1/orders"
KEY = "Idempotency-Key"
CARD = {"payment_method": "pm_card_visa"}
WHY = {"reason": "It rained"}


@pytest.fixture
def buyer(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


@pytest.fixture
def mine(log_in, buyer):
    return log_in(buyer)


@pytest.fixture
def make(sessions, buyer):
    def make(stage, **tier):
        with sessions.begin() as session, bound_to(session):
            user = session.get_one(User, buyer.id)
            return OrderFactory(stage=stage, tier=TicketTierFactory(**tier), user=user)

    return make


def act(client, order, what, body=None, key=None):
    headers = {KEY: key} if key else {}
    return client.post(f"{ORDERS}/{order.id}/{what}", json=body, headers=headers)


def told(answer):
    assert answer.mimetype == "application/problem+json"
    return answer.status_code, answer.json["code"]


def promoter_of(order):
    return order.event.promoter.user


class TestConfirm:
    def test_the_payment_is_started_and_left_to_the_worker(self, mine, make, announced, sessions):
        order = make(OrderStage.AWAITING_PAYMENT)
        answer = act(mine, order, "confirm", CARD)
        assert (answer.status_code, answer.json["stage"]) == (202, "processing")
        assert announced == [ConfirmPayment(order.id)]
        assert int(answer.headers["Retry-After"]) >= 1
        with sessions() as session:
            attempt = session.scalars(select(PaymentTransaction)).one()
        assert (attempt.payment_method, attempt.confirm_due) == ("pm_card_visa", True)

    def test_a_key_makes_a_repetition_harmless(self, mine, make, announced):
        order = make(OrderStage.AWAITING_PAYMENT)
        first = act(mine, order, "confirm", CARD, "pay-1")
        second = act(mine, order, "confirm", CARD, '"pay-1"')
        assert (first.status_code, second.status_code) == (202, 202)
        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"
        assert announced == [ConfirmPayment(order.id)]

    def test_a_key_stands_for_one_order_and_one_payload(self, mine, make):
        order, other = make(OrderStage.AWAITING_PAYMENT), make(OrderStage.AWAITING_PAYMENT)
        act(mine, order, "confirm", CARD, "pay-1")
        changed = {"payment_method": "pm_card_mastercard"}
        assert told(act(mine, order, "confirm", changed, "pay-1")) == (422, "idempotency-key-reused")
        assert told(act(mine, other, "confirm", CARD, "pay-1")) == (422, "idempotency-key-reused")
        assert told(act(mine, order, "cancel", None, "pay-1")) == (422, "idempotency-key-reused")

    def test_a_refusal_does_not_spend_the_key(self, mine, make, sessions):
        order = make(OrderStage.QUEUED)
        assert told(act(mine, order, "confirm", CARD, "pay-1")) == (409, "not-payable")
        assert told(act(mine, order, "confirm", CARD, "pay-1")) == (409, "not-payable")
        assert told(act(mine, order, "confirm", CARD, "a b")) == (400, "idempotency-key-malformed")

    @pytest.mark.parametrize(
        ("stage", "code"),
        [
            (OrderStage.QUEUED, "not-payable"),
            (OrderStage.HELD, "payment-not-ready"),
            (OrderStage.PROCESSING, "payment-in-progress"),
            (OrderStage.CLOSED, "not-payable"),
            (OrderStage.COMPLETE, "not-payable"),
        ],
    )
    def test_stages_that_cannot_be_paid(self, mine, make, stage, code):
        assert told(act(mine, make(stage), "confirm", CARD)) == (409, code)

    def test_the_hold_must_run(self, mine, make, clock):
        order = make(OrderStage.AWAITING_PAYMENT)
        clock.advance(hours=1)
        assert told(act(mine, order, "confirm", CARD)) == (409, "hold-expired")

    @pytest.mark.parametrize("body", [{}, {"payment_method": "4242424242424242"}, {**CARD, "amount": 1}])
    def test_bodies_are_checked(self, mine, make, body):
        answer = act(mine, make(OrderStage.AWAITING_PAYMENT), "confirm", body)
        assert told(answer) == (422, "validation-failed")
        assert "4242" not in answer.text

    def test_it_is_the_buyers_business_alone(self, make, log_in):
        order = make(OrderStage.AWAITING_PAYMENT)
        assert told(act(log_in(promoter_of(order)), order, "confirm", CARD)) == (404, "not-found")


class TestCancel:
    def test_a_waiting_order_is_closed(self, mine, make, announced):
        order = make(OrderStage.QUEUED)
        answer = act(mine, order, "cancel")
        assert (answer.status_code, answer.json["stage"], answer.json["reason"]) == (202, "closed", "buyer_cancelled")
        assert [type(message) for message in announced] == [ServeTier]
        assert "Retry-After" not in answer.headers

    def test_one_with_an_intent_ends_when_the_provider_has_said_so(self, mine, make, announced):
        order = make(OrderStage.AWAITING_PAYMENT)
        answer = act(mine, order, "cancel")
        assert (answer.status_code, answer.json["stage"]) == (202, "expiring")
        assert answer.json["links"]["cancel"] is None
        assert announced == [CancelPayment(order.id)]

    def test_twice_is_the_same_as_once_with_a_key_or_without(self, mine, make, announced):
        order = make(OrderStage.QUEUED)
        first = act(mine, order, "cancel", key="c-1")
        second, third = act(mine, order, "cancel", key="c-1"), act(mine, order, "cancel")
        assert second.headers["Idempotent-Replayed"] == "true"
        assert first.headers["ETag"] == second.headers["ETag"] == third.headers["ETag"]
        assert len(announced) == 1

    def test_a_paid_order_is_refunded_instead(self, mine, make):
        assert told(act(mine, make(OrderStage.COMPLETE), "cancel")) == (409, "not-cancellable")

    def test_strangers_are_told_that_there_is_none(self, make, log_in, sessions, client):
        order = make(OrderStage.QUEUED)
        with sessions.begin() as session:
            stranger = log_in(UserFactory(session=session))
        assert told(act(stranger, order, "cancel")) == (404, "not-found")
        assert told(act(client, order, "cancel")) == (401, "unauthenticated")
        assert stranger.post(f"{ORDERS}/no-uuid/cancel").status_code == 404


class TestApproval:
    def test_the_promoter_approves(self, make, log_in, announced):
        order = make(OrderStage.AWAITING_APPROVAL, requires_approval=True)
        answer = act(log_in(promoter_of(order)), order, "approve")
        assert (answer.status_code, answer.json["stage"]) == (202, "held")
        assert OpenPayment(order.id) in announced

    def test_or_declines(self, make, log_in):
        order = make(OrderStage.AWAITING_APPROVAL, requires_approval=True)
        answer = act(log_in(promoter_of(order)), order, "decline")
        assert (answer.status_code, answer.json["stage"], answer.json["reason"]) == (202, "closed", "declined")

    @pytest.mark.parametrize("what", ["approve", "decline"])
    def test_a_key_makes_a_repetition_harmless(self, make, log_in, what):
        order = make(OrderStage.AWAITING_APPROVAL)
        promoter = log_in(promoter_of(order))
        first = act(promoter, order, what, key="a-1")
        second = act(promoter, order, what, key="a-1")
        assert (first.status_code, second.status_code) == (202, 202)
        assert second.headers["Idempotent-Replayed"] == "true"
        assert told(act(promoter, order, what)) == (409, "not-awaiting-approval")

    @pytest.mark.parametrize("what", ["approve", "decline"])
    def test_who_may(self, make, log_in, sessions, mine, what):
        order = make(OrderStage.AWAITING_APPROVAL)
        with sessions.begin() as session, bound_to(session):
            other, admin = PromoterFactory().user, UserFactory(role=UserRole.ADMIN)
        assert told(act(mine, order, what)) == (403, "forbidden")
        assert told(act(log_in(other), order, what)) == (404, "not-found")
        assert act(log_in(admin), order, what).status_code == 202


class TestRefund:
    def test_the_whole_payment_by_default(self, make, log_in, announced, sessions):
        order = make(OrderStage.COMPLETE)
        answer = act(log_in(promoter_of(order)), order, "refund", WHY)
        assert answer.status_code == 202
        (message,) = [message for message in announced if isinstance(message, RefundPayment)]
        with sessions() as session:
            refund = session.get_one(PaymentTransaction, message.transaction_id)
        assert (refund.amount, refund.reason) == (order.total, "It rained")

    def test_a_key_makes_a_repetition_harmless(self, make, log_in, sessions):
        order = make(OrderStage.COMPLETE)
        promoter = log_in(promoter_of(order))
        body = {**WHY, "amount": 100}
        for _ in range(3):
            answer = act(promoter, order, "refund", body, "r-1")
            assert answer.status_code == 202
        assert answer.headers["Idempotent-Replayed"] == "true"
        refunds = select(func.count()).select_from(PaymentTransaction).where(PaymentTransaction.kind == "refund")
        with sessions() as session:
            assert session.scalar(refunds) == 1
        assert told(act(promoter, order, "refund", {**WHY, "amount": 200}, "r-1")) == (422, "idempotency-key-reused")

    def test_refusals(self, make, log_in, mine):
        order, unpaid = make(OrderStage.COMPLETE), make(OrderStage.QUEUED)
        promoter = log_in(promoter_of(order))
        too_much = {**WHY, "amount": order.total + 1}
        assert told(act(promoter, order, "refund", too_much)) == (409, "refund-exceeds-payment")
        assert told(act(promoter, order, "refund", {**WHY, "amount": 0})) == (422, "validation-failed")
        assert told(act(promoter, order, "refund", {})) == (422, "validation-failed")
        assert told(act(log_in(promoter_of(unpaid)), unpaid, "refund", WHY)) == (409, "nothing-to-refund")
        assert told(act(promoter, unpaid, "refund", WHY)) == (404, "not-found")
        assert told(act(mine, order, "refund", WHY)) == (409, "refund-not-allowed")
        assert told(act(mine, unpaid, "refund", WHY)) == (409, "refund-not-allowed")

    def test_a_role_that_was_taken_away_moves_no_money(self, make, log_in, sessions):
        order = make(OrderStage.COMPLETE)
        promoter = promoter_of(order)
        client = log_in(promoter)
        with sessions.begin() as session:
            session.merge(promoter).role = UserRole.USER
        assert told(act(client, order, "refund", WHY)) == (404, "not-found")
        assert told(act(client, order, "approve")) == (404, "not-found")


def test_an_order_that_is_not_there_cannot_be_acted_on(mine, sessions):
    for what, body in (("confirm", CARD), ("cancel", None)):
        assert told(mine.post(f"{ORDERS}/{uuid7()}/{what}", json=body)) == (404, "not-found")
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Order)) == 0
