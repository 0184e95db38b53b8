import pytest

from domain.models import Order
from domain.rules.states import AttemptKind, AttemptStatus, LedgerKind, OrderStage
from tests.factories import LedgerEntryFactory, PaymentTransactionFactory, bound_to


@pytest.fixture
def paid(house):
    """Return an order that was paid, and has its tickets."""
    house.confirmed()
    order_id = house.confirmed(quantity=2)
    assert house.broken() == {}
    return order_id


def refund(house, order_id, amount, status=AttemptStatus.SUCCEEDED, **values):
    """Write a refund down behind everybody's back, and book it if it succeeded."""
    charge = house.attempt_of(order_id)
    with house.sessions.begin() as session, bound_to(session):
        attempt = PaymentTransactionFactory(
            order=session.get_one(Order, order_id),
            kind=AttemptKind.REFUND,
            parent_id=charge.id,
            amount=amount,
            status=status,
            **values,
        )
        if status is AttemptStatus.SUCCEEDED:
            LedgerEntryFactory(transaction=attempt, kind=LedgerKind.REFUND)
        return attempt.id


def close(house, order_id):
    house.corrupt("UPDATE orders SET stage = 'closed', status = 'refunded' WHERE id = :id", id=order_id)
    house.corrupt("UPDATE tickets SET status = 'refunded' WHERE order_id = :id", id=order_id)


class TestCapturedIsSettled:
    def test_names_an_order_that_ended_with_the_money(self, house, paid):
        close(house, paid)
        (breach,) = house.look()["captured_is_settled"]
        total = house.attempt_of(paid).amount
        assert (breach.id, breach.can_heal) == (paid, False)
        assert breach.fault == f"closed, and keeps {total} of {total} EUR, of which 0 are on their way back"

    def test_names_a_payment_that_bought_nothing(self, house):
        order_id = house.order(OrderStage.AWAITING_PAYMENT)
        with house.sessions.begin() as session, bound_to(session):
            LedgerEntryFactory(transaction=house.attempt_of(order_id))
        assert house.broken()["captured_is_settled"] == [order_id]

    def test_names_an_order_that_was_paid_twice(self, house, paid):
        charge = house.attempt_of(paid)
        with house.sessions.begin() as session, bound_to(session):
            again = PaymentTransactionFactory(
                order=session.get_one(Order, paid), attempt=2, amount=charge.amount, status=AttemptStatus.SUCCEEDED
            )
            LedgerEntryFactory(transaction=again)
        assert house.broken()["captured_is_settled"] == [paid]

    @pytest.mark.parametrize("status", [AttemptStatus.CREATED, AttemptStatus.PROCESSING, AttemptStatus.UNKNOWN])
    def test_what_is_on_its_way_back_is_settled(self, house, paid, status):
        close(house, paid)
        refund(house, paid, house.attempt_of(paid).amount, status)
        assert "captured_is_settled" not in house.broken()

    def test_a_part_on_its_way_back_settles_no_more_than_that(self, house, paid):
        close(house, paid)
        refund(house, paid, house.attempt_of(paid).amount - 1, AttemptStatus.CREATED)
        assert house.broken()["captured_is_settled"] == [paid]

    def test_a_refund_that_failed_settles_nothing(self, house, paid):
        close(house, paid)
        refund(house, paid, house.attempt_of(paid).amount, AttemptStatus.FAILED)
        assert house.broken()["captured_is_settled"] == [paid]

    def test_where_somebody_went_in_the_money_was_earned(self, house, paid):
        close(house, paid)
        house.corrupt("UPDATE tickets SET checked_in_at = now() WHERE order_id = :id AND position = 1", id=paid)
        assert "captured_is_settled" not in house.broken()


class TestTicketsArePaid:
    def test_names_an_order_whose_money_went_back_and_whose_tickets_did_not(self, house, paid):
        total = house.attempt_of(paid).amount
        refund(house, paid, total)
        assert house.broken()["tickets_are_paid"] == [paid]

    def test_names_an_order_that_was_confirmed_without_a_payment(self, house):
        order_id = house.order(OrderStage.COMPLETE, with_payment=False)
        assert house.broken()["tickets_are_paid"] == [order_id]

    def test_while_a_bank_decides_nobody_has_lost_yet(self, house, paid):
        total = house.attempt_of(paid).amount
        with house.sessions.begin() as session, bound_to(session):
            dispute = PaymentTransactionFactory(
                order=session.get_one(Order, paid),
                kind=AttemptKind.DISPUTE,
                parent_id=house.attempt_of(paid).id,
                amount=total,
                status=AttemptStatus.PROCESSING,
            )
            LedgerEntryFactory(transaction=dispute, kind=LedgerKind.DISPUTE)
            session.get_one(Order, paid).refunded = total
        assert house.broken() == {}
        house.corrupt("UPDATE payment_transactions SET status = 'succeeded' WHERE id = :id", id=dispute.id)
        assert house.broken() == {"tickets_are_paid": [paid]}


class TestConfirmedHasTickets:
    def test_names_an_order_that_lacks_a_ticket(self, house, paid):
        house.corrupt("DELETE FROM tickets WHERE order_id = :id AND position = 1", id=paid)
        (breach,) = house.look()["confirmed_has_tickets"]
        assert (breach.id, breach.fault) == (paid, "issuing, bought 2, has 1 tickets, of which 1 live")

    def test_names_a_confirmed_order_of_which_no_ticket_lives(self, house, paid):
        house.corrupt("UPDATE tickets SET status = 'refunded' WHERE order_id = :id", id=paid)
        assert house.broken()["confirmed_has_tickets"] == [paid]

    def test_names_tickets_of_an_order_that_has_ended(self, house, paid):
        close(house, paid)
        house.corrupt("UPDATE tickets SET status = 'valid' WHERE order_id = :id AND position = 1", id=paid)
        assert house.broken()["confirmed_has_tickets"] == [paid]


class TestRefundsWithinCaptured:
    def test_names_the_charge(self, house, paid):
        charge = house.attempt_of(paid)
        refund(house, paid, charge.amount)
        assert "refunds_within_captured" not in house.broken()
        refund(house, paid, 1, attempt=2)
        (breach,) = house.look()["refunds_within_captured"]
        assert breach.id == charge.id
        assert breach.fault.startswith(f"{charge.amount + 1} of a charge of {charge.amount} EUR")

    def test_nothing_goes_back_of_a_charge_that_brought_nothing(self, house):
        order_id = house.order(OrderStage.AWAITING_PAYMENT)
        charge = house.attempt_of(order_id)
        refund(house, order_id, 1)
        assert house.broken()["refunds_within_captured"] == [charge.id]


class TestLedgerEqualsAttempts:
    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE ledger_entries SET amount = amount - 1 WHERE transaction_id = :id AND kind = 'charge'",
            "UPDATE ledger_entries SET amount = amount - 1 WHERE transaction_id = :id AND kind = 'fee'",
            "DELETE FROM ledger_entries WHERE transaction_id = :id",
            "UPDATE payment_transactions SET status = 'processing' WHERE id = :id",
            "UPDATE payment_transactions SET amount = amount + 1 WHERE id = :id",
            "UPDATE payment_transactions SET currency = 'USD' WHERE id = :id",
        ],
    )
    def test_names_a_charge_that_moved_something_else(self, house, paid, change):
        charge = house.attempt_of(paid)
        house.corrupt(change, id=charge.id)
        assert house.broken()["ledger_equals_attempts"] == [charge.id]

    def test_names_a_refund_that_moved_nothing(self, house, paid):
        refund_id = refund(house, paid, 100)
        assert "ledger_equals_attempts" not in house.broken()
        house.corrupt("DELETE FROM ledger_entries WHERE transaction_id = :id", id=refund_id)
        assert house.broken()["ledger_equals_attempts"] == [refund_id]

    def test_a_refund_that_came_back_moved_nothing_in_the_end(self, house, paid):
        refund_id = refund(house, paid, 100)
        house.corrupt("UPDATE payment_transactions SET status = 'failed' WHERE id = :id", id=refund_id)
        assert house.broken()["ledger_equals_attempts"] == [refund_id]
        house.corrupt(
            "INSERT INTO ledger_entries (order_id, transaction_id, kind, amount, currency, provider_reference)"
            " VALUES (:order, :id, 'reversal', 100, 'EUR', 're')",
            order=paid,
            id=refund_id,
        )
        assert house.broken() == {}

    def test_names_a_dispute_that_took_another_sum(self, house, paid):
        charge = house.attempt_of(paid)
        with house.sessions.begin() as session, bound_to(session):
            dispute = PaymentTransactionFactory(
                order=session.get_one(Order, paid), kind=AttemptKind.DISPUTE, parent_id=charge.id, amount=100
            )
        assert "ledger_equals_attempts" not in house.broken()
        with house.sessions.begin() as session, bound_to(session):
            LedgerEntryFactory(transaction=dispute, kind=LedgerKind.DISPUTE, amount=-99)
        assert house.broken()["ledger_equals_attempts"] == [dispute.id]


class TestRefundedIsCounted:
    def test_names_the_order_and_counts_by_the_ledger(self, house, paid):
        refund(house, paid, 100)
        (breach,) = house.look()["refunded_is_counted"]
        assert (breach.id, breach.can_heal) == (paid, True)
        assert house.heal() == 1
        with house.sessions() as session:
            assert session.get_one(Order, paid).refunded == 100
        assert house.broken() == {}

    def test_what_no_ledger_tells_of_is_left_to_a_person(self, house):
        order_id = house.order(OrderStage.AWAITING_PAYMENT)
        house.corrupt("UPDATE orders SET refunded = 1 WHERE id = :id", id=order_id)
        (breach,) = house.look()["refunded_is_counted"]
        assert (breach.id, breach.can_heal, house.heal()) == (order_id, False, 0)


class TestOneLiveIntent:
    def test_names_an_order_that_could_be_paid_twice(self, house):
        order_id = house.order(OrderStage.AWAITING_PAYMENT)
        amount = house.attempt_of(order_id).amount
        assert house.broken() == {}
        house.without_index("uq_payment_transactions_live_charge")
        with house.sessions.begin() as session, bound_to(session):
            PaymentTransactionFactory(order=session.get_one(Order, order_id), attempt=2, amount=amount)
        assert house.broken() == {"one_live_intent": [order_id]}
