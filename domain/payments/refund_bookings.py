"""A refund in the ledger: what it moved, and what came back.

Where the provider splits charges with a promoter's account the fee is what it says: it rounds, gives all of it back
with the last of a charge, and its dashboard may give back more. Elsewhere the fee is ours, and goes in proportion.
"""

import logging

from sqlalchemy.orm import Session

from domain.models import Order, PaymentTransaction
from domain.payments import ledger
from domain.ports import Refund
from domain.rules.refunds import returned_fee
from domain.rules.states import LedgerKind

log = logging.getLogger(__name__)


def book(
    session: Session, order: Order, charge: PaymentTransaction, refund: PaymentTransaction, reading: Refund
) -> None:
    """Book a refund with the fee that went back, and derive the order's money from the ledger."""
    if charge.provider_account_id is None:
        fee = _share(order, charge, refund, ledger.returned_with_fee(session, charge))
    else:
        fee = max(0, reading.returned_fee - ledger.returned_fee(session, charge))
    ledger.book(session, refund, {LedgerKind.REFUND: -refund.amount, LedgerKind.FEE: fee}, reading.id)
    ledger.count(session, order)


def take_back(
    session: Session, order: Order, charge: PaymentTransaction, refund: PaymentTransaction, reading: Refund
) -> None:
    """Book a refund back whose money came back to us; the tickets that it took stay taken.

    The fee that a promoter's account got back stays there, as what was taken from it stays here.
    """
    fee = 0
    if charge.provider_account_id is None:
        fee = _share(order, charge, refund, ledger.returned_with_fee(session, charge) - refund.amount)
    ledger.book(session, refund, {LedgerKind.REVERSAL: refund.amount, LedgerKind.FEE: -fee}, reading.id)
    log.error("refund.came_back transaction=%s refund=%s", refund.id, reading.id)
    ledger.count(session, order)


def _share(order: Order, charge: PaymentTransaction, refund: PaymentTransaction, before: int) -> int:
    if not refund.returns_fee:
        return 0
    return returned_fee(order.fees + order.absorbed_fees, charge.amount, before=before, after=before + refund.amount)
