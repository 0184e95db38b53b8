"""Attempts to move money, what the ledger says of them, and events of the providers."""

from datetime import UTC, datetime

import factory
from uuid_utils.compat import uuid7

from domain.models import LedgerEntry, PaymentFeed, PaymentTransaction, Statement, WebhookEvent
from domain.rules.lifecycle import CONFIRMED
from domain.rules.states import AttemptKind, AttemptStatus, LedgerKind, OrderStage
from tests.factories.base import RowFactory, current_session


class PaymentTransactionFactory(RowFactory):
    """By default the charge of a new order that can be paid, for the whole of its total."""

    class Meta:
        model = PaymentTransaction

    order = factory.SubFactory(
        "tests.factories.orders.OrderFactory", stage=OrderStage.AWAITING_PAYMENT, with_payment=False
    )
    kind = AttemptKind.CHARGE
    attempt = 1
    amount = factory.SelfAttribute("order.total")
    currency = factory.SelfAttribute("order.currency")
    status = AttemptStatus.REQUIRES_PAYMENT_METHOD
    provider_transaction_id = factory.Sequence(lambda n: f"pi_test{n}")
    idempotency_key = factory.LazyFunction(lambda: f"test:{uuid7()}")


class LedgerEntryFactory(RowFactory):
    """By default the charge of a new attempt that succeeded."""

    class Meta:
        model = LedgerEntry

    class Params:
        transaction = factory.SubFactory(PaymentTransactionFactory, status=AttemptStatus.SUCCEEDED)

    order_id = factory.SelfAttribute("transaction.order_id")
    transaction_id = factory.SelfAttribute("transaction.id")
    kind = LedgerKind.CHARGE
    amount = factory.LazyAttribute(
        lambda entry: (
            entry.transaction.amount
            if entry.kind in {LedgerKind.CHARGE, LedgerKind.REVERSAL}
            else -entry.transaction.amount
        )
    )
    currency = factory.SelfAttribute("transaction.currency")
    provider_reference = factory.Sequence(lambda n: f"ch_test{n}")


class WebhookEventFactory(RowFactory):
    class Meta:
        model = WebhookEvent

    provider = "stripe"
    provider_event_id = factory.Sequence(lambda n: f"evt_test{n}")
    type = "payment_intent.succeeded"
    payload = factory.LazyAttribute(lambda event: {"id": event.provider_event_id, "type": event.type})


class PaymentFeedFactory(RowFactory):
    class Meta:
        model = PaymentFeed

    provider = "stripe"
    read_until = factory.LazyFunction(lambda: datetime.now(UTC))


class StatementFactory(RowFactory):
    """By default one that is being made."""

    class Meta:
        model = Statement

    event = factory.SubFactory("tests.factories.catalog.EventFactory")


ATTEMPT_STATUS = {
    OrderStage.PROCESSING: AttemptStatus.PROCESSING,
    OrderStage.ISSUING: AttemptStatus.SUCCEEDED,
    OrderStage.COMPLETE: AttemptStatus.SUCCEEDED,
}


def record_payment(order):
    """Give an order the attempt that its stage implies; one that was paid gets its ledger entries too."""
    attempt = PaymentTransactionFactory(
        order=order, status=ATTEMPT_STATUS.get(order.stage, AttemptStatus.REQUIRES_PAYMENT_METHOD)
    )
    order.stripe_payment_intent_id = attempt.provider_transaction_id
    order.stripe_client_secret = f"{attempt.provider_transaction_id}_secret_test"
    if order.stage in CONFIRMED:
        charge = LedgerEntryFactory(transaction=attempt)
        order.stripe_charge_id = charge.provider_reference
        fees = order.fees + order.absorbed_fees
        if fees:
            LedgerEntryFactory(
                transaction=attempt,
                kind=LedgerKind.FEE,
                amount=-fees,
                provider_reference=charge.provider_reference,
            )
    current_session().flush()
