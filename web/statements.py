"""The statement of an event's money: read, and by that kept fresh. What it says is in domain/payments/statements.py."""

from flask import Response

from domain.payments import statements
from web.auth import current_actor
from web.openapi import describes, open_blueprint
from web.responses import answer
from web.schemas.events import EventPath
from web.schemas.statements import StatementBody, StatementUnderWay
from web.services import services

blueprint = open_blueprint("statements", "Where the money is, by Stripe, the ledger and the tickets.")

RETRY_AFTER = {"Retry-After": "2"}
"""Seconds; a statement of a few thousand orders takes no longer."""


@blueprint.get(
    "/events/<uuid:event_id>/statement",
    summary="An event's statement",
    responses={200: StatementBody, 202: StatementUnderWay},
)
@describes(
    problems=("forbidden",),
    headers={
        200: {"Retry-After": "Seconds until a newer one may be there; absent while this one is the newest."},
        202: {"Retry-After": "Seconds until it may be there."},
    },
)
def read_statement(path: EventPath) -> Response:
    """Return the last statement; if that is older than a minute, a newer one is being made meanwhile."""
    with services().sessions.begin() as session:
        last, is_renewed = statements.consult(session, current_actor(), path.event_id, services().clock.now())
        headers = RETRY_AFTER if is_renewed else None
        if last is None:
            return answer(StatementUnderWay(event_id=path.event_id), 202, headers)
        return answer(StatementBody.of(last, is_renewed=is_renewed), headers=headers)
