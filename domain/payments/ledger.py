"""The ledger: money that has moved, in rows that are only ever added, and in the audit log as the system's own acts.

Attempts to move it, which change until they end, are in `attempts.py`.
"""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from domain import audit
from domain.audit import SYSTEM
from domain.models import LedgerEntry, Order, PaymentTransaction
from domain.rules.states import AttemptKind, LedgerKind, PaymentStatus

_BACK_AND_FORTH = (LedgerKind.REFUND, LedgerKind.DISPUTE, LedgerKind.REVERSAL)


def book(session: Session, attempt: PaymentTransaction, movements: Mapping[LedgerKind, int], reference: str) -> None:
    """Write down what an attempt moved, signed as its order sees it; what is zero did not move.

    A unique index stands behind the order's lock: no movement of an attempt is written, or undone, twice.
    """
    moved = {kind: amount for kind, amount in movements.items() if amount}
    session.add_all(
        LedgerEntry(
            order_id=attempt.order_id,
            transaction_id=attempt.id,
            kind=kind,
            amount=amount,
            currency=attempt.currency,
            provider_reference=reference,
        )
        for kind, amount in moved.items()
    )
    act = next(kind for kind in moved if kind is not LedgerKind.FEE)
    amounts = {kind.value: amount for kind, amount in moved.items()}
    told = {"attempt": str(attempt.id), "currency": attempt.currency, "reference": reference, **amounts}
    audit.record(session, SYSTEM, f"money.{act}", session.get_one(Order, attempt.order_id), new=told)
    session.flush()


def kept(session: Session, order_id: UUID) -> int:
    """Return what was charged for an order and has not gone back, by our hands or by a bank's."""
    amount = session.scalar(
        select(func.sum(LedgerEntry.amount)).where(
            LedgerEntry.order_id == order_id, LedgerEntry.kind.in_([LedgerKind.CHARGE, *_BACK_AND_FORTH])
        )
    )
    return int(amount or 0)


def count(session: Session, order: Order) -> None:
    """Derive from the ledger how much of a locked order's money went back; one that is paid again is not refunded."""
    # A second charge of one order, given back, leaves the first one paid; a dispute may take more than was paid.
    order.refunded = min(order.total, max(0, order.total - kept(session, order.id)))
    if order.payment_status is PaymentStatus.REFUNDED and order.refunded < order.total:
        order.payment_status = PaymentStatus.COMPLETED
        order.refunded_at = None


def disputed(session: Session, charge: PaymentTransaction) -> int:
    """Return what disputes have taken of one charge, and keep at the moment."""
    return _gone(session, charge, PaymentTransaction.kind == AttemptKind.DISPUTE)


def returned_with_fee(session: Session, charge: PaymentTransaction) -> int:
    """Return what we gave back of one charge, together with the platform's fee, and stayed there."""
    return _gone(
        session, charge, PaymentTransaction.kind == AttemptKind.REFUND, PaymentTransaction.returns_fee.is_(True)
    )


def returned_fee(session: Session, charge: PaymentTransaction) -> int:
    """Return what of the platform's fee for one charge was given back with refunds, and stayed there."""
    return _moved(session, charge, LedgerEntry.kind == LedgerKind.FEE, PaymentTransaction.kind == AttemptKind.REFUND)


def _gone(session: Session, charge: PaymentTransaction, *which: ColumnElement[bool]) -> int:
    return -_moved(session, charge, LedgerEntry.kind.in_(_BACK_AND_FORTH), *which)


def _moved(session: Session, charge: PaymentTransaction, *which: ColumnElement[bool]) -> int:
    amount = session.scalar(
        select(func.sum(LedgerEntry.amount))
        .join(PaymentTransaction, PaymentTransaction.id == LedgerEntry.transaction_id)
        .where(PaymentTransaction.parent_id == charge.id, *which)
    )
    return int(amount or 0)
