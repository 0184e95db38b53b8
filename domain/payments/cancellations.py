"""Cancelling the intent of an order that is ending or has ended.

Read and mark, call, record. What the provider's answer means for the order is in `settlement.py`.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from domain.errors import VendorError
from domain.payments import attempts, outcomes, settlement
from domain.ports import Intent, PaymentGateway
from domain.rules.states import AttemptStatus, OrderReason, OrderStage
from domain.transitions import lock_order


def cancel_payment(sessions: sessionmaker[Session], gateway: PaymentGateway, order_id: UUID, now: datetime) -> None:
    """Cancel the intent of an order that is ending or has ended; the order closes, or is confirmed if it was paid.

    While the provider cannot be reached the order keeps its stock, until its clock runs out.
    """
    with sessions.begin() as session:
        intended = _prepare_cancelling(session, order_id, now)
    if intended is None:
        return
    attempt_id, intent_id = intended
    try:
        answer: Intent | VendorError = gateway.cancel_intent(intent_id)
    except VendorError as error:
        answer = error
    with sessions.begin() as session:
        order, attempt = attempts.lock(session, attempt_id)
        if isinstance(answer, Intent):
            settlement.apply_reading(session, order, attempt, answer, now)
        else:
            attempts.note(attempt, answer)


def _prepare_cancelling(session: Session, order_id: UUID, now: datetime) -> tuple[UUID, str] | None:
    order = lock_order(session, order_id)
    attempt = attempts.live_charge(session, order_id)
    if order is None or (attempt is not None and settlement.is_wanted(order, attempt)):
        return None
    if attempt is not None and attempt.provider_transaction_id is not None:
        # The answer to a confirmation under way does not matter any more: the intent itself is asked.
        attempt.confirm_due = False
        attempts.touch(attempt)
        return attempt.id, attempt.provider_transaction_id
    if attempt is not None:
        # Nobody has its client secret, so it cannot be paid. Should its opening end after all, it is cancelled then.
        attempt.status = AttemptStatus.CANCELLED
    if order.stage is OrderStage.EXPIRING:
        outcomes.end_unpaid(session, order, order.reason or OrderReason.HOLD_EXPIRED, now)
    return None
