"""The ledger: money that has moved, in rows that are only ever added.

Attempts to move it, which change until they end, are in `attempts.py`.
"""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from domain.models import LedgerEntry, PaymentTransaction
from domain.rules.states import AttemptKind, LedgerKind

_BACK_AND_FORTH = (LedgerKind.REFUND, LedgerKind.REVERSAL)


def book(session: Session, attempt: PaymentTransaction, movements: Mapping[LedgerKind, int], reference: str) -> None:
    """Write down what an attempt moved, signed as its order sees it; what is zero did not move.

    A unique index stands behind the order's lock: no movement of an attempt is written, or undone, twice.
    """
    session.add_all(
        LedgerEntry(
            order_id=attempt.order_id,
            transaction_id=attempt.id,
            kind=kind,
            amount=amount,
            currency=attempt.currency,
            provider_reference=reference,
        )
        for kind, amount in movements.items()
        if amount
    )
    session.flush()


def kept(session: Session, order_id: UUID) -> int:
    """Return what was charged for an order and not refunded; what banks took in disputes is not our giving."""
    amount = session.scalar(
        select(func.sum(LedgerEntry.amount))
        .join(PaymentTransaction, PaymentTransaction.id == LedgerEntry.transaction_id)
        .where(LedgerEntry.order_id == order_id, LedgerEntry.kind.in_([LedgerKind.CHARGE, *_BACK_AND_FORTH]))
        .where(PaymentTransaction.kind != AttemptKind.DISPUTE)
    )
    return int(amount or 0)


def returned_with_fee(session: Session, charge: PaymentTransaction) -> int:
    """Return what went back of one charge, together with the platform's fee, and stayed there."""
    amount = session.scalar(
        select(func.sum(LedgerEntry.amount))
        .join(PaymentTransaction, PaymentTransaction.id == LedgerEntry.transaction_id)
        .where(PaymentTransaction.parent_id == charge.id, PaymentTransaction.kind == AttemptKind.REFUND)
        .where(PaymentTransaction.returns_fee, LedgerEntry.kind.in_(_BACK_AND_FORTH))
    )
    return -int(amount or 0)
