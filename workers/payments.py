"""Tasks of the `payments` queue: what we ask of the payment provider, and what it tells us."""

import time
from uuid import UUID

import structlog

from domain import payout_accounts
from domain.messages import (
    CancelPayment,
    ConcludeLatePayment,
    ConfirmPayment,
    FollowDispute,
    MakeStatement,
    OpenPayment,
    ReadAccount,
    ReadFeed,
    ReceivePaymentEvent,
    RefundPayment,
    SettlePayment,
)
from domain.payments import (
    cancellations,
    confirmations,
    disputes,
    events,
    feed,
    late_payments,
    openings,
    reconciliation,
    repayment,
    statements,
)
from workers.app import app, clock, clocks, dispatcher, gateway, request_ids, sessions

log = structlog.get_logger()

OPENING_SECONDS = 20.0
"""A task opens payments for so long: far below its time limit, and below the broker's patience with a message."""


@app.task(name=OpenPayment.task)
def open_payments(order_ids: list[str]) -> None:
    """Open the payments of held orders, one after the other; those that there is no time for are rung for again."""
    ends = time.monotonic() + OPENING_SECONDS
    waiting = dict(zip(map(UUID, order_ids), request_ids(len(order_ids)), strict=True))
    while waiting and time.monotonic() < ends:
        order_id = next(iter(waiting))
        with structlog.contextvars.bound_contextvars(request_id=waiting.pop(order_id)):
            _open_payment(order_id)
    dispatcher()({OpenPayment(order_id): request_id for order_id, request_id in waiting.items()})


def _open_payment(order_id: UUID) -> None:
    """Open one payment; trouble with it is logged, holds up none of the others, and the sweep rings for it again."""
    try:
        openings.open_payment(sessions(), gateway(), order_id, clock.now(), clocks())
    except Exception:
        log.exception("payment.not_opened", order_id=str(order_id))


@app.task(name=ConfirmPayment.task)
def confirm_payment(order_id: str) -> None:
    """Confirm a payment as its buyer asked."""
    confirmations.confirm_payment(sessions(), gateway(), UUID(order_id), clock.now())


@app.task(name=SettlePayment.task)
def settle_payment(order_id: str) -> None:
    """Bring an order to where its intent is."""
    reconciliation.settle_payment(sessions(), gateway(), UUID(order_id), clock.now())


@app.task(name=CancelPayment.task)
def cancel_payment(order_id: str) -> None:
    """Cancel the intent of an order that ends."""
    cancellations.cancel_payment(sessions(), gateway(), UUID(order_id), clock.now())


@app.task(name=ConcludeLatePayment.task)
def conclude_late_payment(order_id: str) -> None:
    """Confirm an order that was paid late, or give the money back."""
    late_payments.conclude(sessions(), UUID(order_id), clock.now())


@app.task(name=RefundPayment.task)
def refund_payment(transaction_id: str) -> None:
    """Carry out a refund, or ask how it stands."""
    repayment.carry_out_refund(sessions(), gateway(), UUID(transaction_id), clock.now())


@app.task(name=ReadAccount.task)
def read_account(account_id: str) -> None:
    """Read a promoter's connected account."""
    payout_accounts.read_account(sessions(), gateway(), account_id, clock.now())


@app.task(name=FollowDispute.task)
def follow_dispute(transaction_id: str) -> None:
    """Ask how an open dispute stands."""
    disputes.follow_dispute(sessions(), gateway(), UUID(transaction_id), clock.now())


@app.task(name=ReadFeed.task)
def read_feed() -> None:
    """Store the provider's events that no webhook brought."""
    feed.read_feed(sessions(), gateway(), clock.now())


@app.task(name=ReceivePaymentEvent.task)
def receive_event(event_id: str) -> None:
    """Handle an event of the inbox."""
    events.receive_event(sessions(), gateway(), UUID(event_id), clock.now())


# Acknowledged at once: a big event takes longer than the broker waits before it delivers again, and the sweep rings.
@app.task(name=MakeStatement.task, acks_late=False)
def make_statement(statement_id: str) -> None:
    """Make a statement of an event's money."""
    statements.make(sessions(), gateway(), UUID(statement_id))
