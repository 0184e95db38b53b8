"""Refunds of a charge that its owner disputes: they wait for the bank, which may give the money back itself.

Disputes themselves are another module's; here their attempts are only looked at.
"""

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain.buyers import tell_buyer
from domain.models import Order, PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.payments import refunds, returned_tickets
from domain.rules.states import AttemptKind, AttemptStatus

log = logging.getLogger(__name__)

CODES = frozenset({"charge_disputed", "refund_disputed_payment", "charge_for_pending_refund_disputed"})
"""A dispute forbids the refund: as codes of an error (docs.stripe.com/error-codes), and as the reason of one that
failed while it was pending (docs.stripe.com/api/refunds/object).
"""
LOST = "disputed"
"""The code of a refund that is not owed any more, because a bank has given the money back."""


def stands_in_the_way(session: Session, order: Order, charge: PaymentTransaction, refund: PaymentTransaction) -> bool:
    """Tell whether a refund that was not called yet must not be called now; end it where a lost dispute has paid.

    While a bank only inquires, the provider takes refunds: so only one that was refused waits for an open dispute.
    """
    statuses = session.scalars(
        select(PaymentTransaction.status).where(
            PaymentTransaction.parent_id == charge.id, PaymentTransaction.kind == AttemptKind.DISPUTE
        )
    ).all()
    if AttemptStatus.SUCCEEDED in statuses and refunds.balance(session, charge) < 0:
        _end(session, order, charge, refund)
        return True
    return refund.error_code in CODES and any(status in OPEN_STATUSES for status in statuses)


def _end(session: Session, order: Order, charge: PaymentTransaction, refund: PaymentTransaction) -> None:
    """End a refund whose money the bank took; a part that it left is still owed, where the whole was."""
    is_owed = refunds.is_owed(session, order, refund)
    refund.status = AttemptStatus.FAILED
    refund.error_code, refund.error_message = LOST, "The bank has given the money back after a dispute."
    session.flush()
    log.warning("refund.disputed transaction=%s", refund.id)
    left = refunds.refundable(session, charge)
    if is_owed and left:
        refunds.try_again(session, charge, refund, left)
    else:
        returned_tickets.let_go(session, refund)
        tell_buyer(session, order, "refund_left_to_bank", amount=refund.amount, currency=refund.currency)
