"""Routes of disputed payments. What a dispute does is in domain/payments/disputes.py."""

from flask import Response

from domain.models import PaymentTransaction
from domain.payments import disputes
from web.auth import current_actor
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer
from web.schemas.disputes import DisputeBody
from web.schemas.events import EventPath
from web.services import services

blueprint = open_blueprint("disputes", "Payments that the card's owner has asked the bank to take back.")


@blueprint.get("/events/<uuid:event_id>/disputes", summary="List disputes", responses={200: Page[DisputeBody]})
@describes(problems=("forbidden",))
def list_disputes(path: EventPath, query: PageArguments) -> Response:
    """Return the disputed payments of your event, newest first. Answer the bank in Stripe, before evidence is due."""
    before = query.after_id()
    with services().sessions() as session:
        found = disputes.list_disputes(session, current_actor(), path.event_id, before=before, limit=query.limit)
        rows, next_cursor = cut(found, query.limit, lambda row: (row[0].id,))
        items = [_body(dispute, blocked) for dispute, blocked in rows]
    return answer(Page[DisputeBody](items=items, next_cursor=next_cursor))


def _body(dispute: PaymentTransaction, tickets_blocked: int) -> DisputeBody:
    reported = dispute.raw_reference or {}
    return DisputeBody(
        id=dispute.id,
        order_id=dispute.order_id,
        order_number=dispute.order.number,
        amount=dispute.amount,
        currency=dispute.currency,
        reason=dispute.reason,
        status=reported.get("status"),
        evidence_due_at=reported.get("evidence_due_at"),
        tickets_blocked=tickets_blocked,
        opened_at=dispute.created_at,
        closed_at=None if dispute.is_pending else dispute.updated_at,
    )
