"""Refunds that a person made at the provider: money that moved without an attempt of ours.

They are written down as attempts that were made already, so that ledger and provider agree. From then on they are
refunds like any other: what a reading means for the order is in `repayment.py`.
"""

import logging
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from domain import audit
from domain.models import Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.payments import refunds, repayment
from domain.ports import Refund
from domain.rules.states import AttemptKind

log = logging.getLogger(__name__)

REASON = "made at the provider"


def apply_reading(session: Session, order: Order, charge: PaymentTransaction, reading: Refund, now: datetime) -> bool:
    """Take in a refund of a locked order's charge that we did not ask for; tell whether that could be done.

    While a refund of ours waits for its answer it cannot, since it may be this one.
    """
    refund = session.scalar(
        select(PaymentTransaction).where(
            PaymentTransaction.provider_transaction_id == reading.id, PaymentTransaction.kind == AttemptKind.REFUND
        )
    )
    if refund is None and _awaits_answer(session, charge):
        return False
    if refund is None and reading.status not in repayment.FAILED:
        refund = _write_down(session, charge, reading, now)
        new = {"amount": refund.amount, "reason": REASON, "refund": reading.id}
        audit.record(session, audit.SYSTEM, "order.refund", order, new=new)
    if refund is not None:
        repayment.apply_reading(session, order, refund, reading, now)
    return True


def _awaits_answer(session: Session, charge: PaymentTransaction) -> bool:
    is_called = exists().where(
        PaymentTransaction.parent_id == charge.id,
        PaymentTransaction.kind == AttemptKind.REFUND,
        PaymentTransaction.status.in_(OPEN_STATUSES),
        PaymentTransaction.provider_transaction_id.is_(None),
        PaymentTransaction.called_at.is_not(None),
    )
    return bool(session.scalar(select(is_called)))


def _write_down(session: Session, charge: PaymentTransaction, reading: Refund, now: datetime) -> PaymentTransaction:
    refund = PaymentTransaction(
        provider_transaction_id=reading.id,
        amount=reading.amount,
        reason=REASON,
        # Unless told otherwise the provider keeps the fee (docs.stripe.com/connect/destination-charges).
        returns_fee=False,
        called_at=now,
        created_at=now,
    )
    refunds.reserve(session, charge, refund)
    log.error("refund.foreign transaction=%s refund=%s", refund.id, reading.id)
    return refund
