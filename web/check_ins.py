"""Routes of check-ins: a gate's scans, and taking a check-in back."""

from flask import Response

from domain import check_ins
from domain.rules.states import UserRole
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.request_bodies import takes_bodies_up_to
from web.responses import answer
from web.schemas.check_ins import CheckInBody, CheckInPath, CheckInRequest, OutcomeBody, ScanBody
from web.services import services

BODY_LIMIT = 512 * 1024
"""Five hundred scans have about 180 KB."""

blueprint = open_blueprint("check-ins", "What the gates scan; for the promoter, and members who may scan.")


@blueprint.post("/check-ins", summary="Check people in", responses={200: CheckInBody})
@describes(problems=("forbidden", "not-found"))
@require(*UserRole, fresh=True)
@takes_bodies_up_to(BODY_LIMIT)
def check_in(body: CheckInRequest) -> Response:
    """Record what a gate has scanned, and tell what each ticket is worth: `accepted` lets in, once.

    Send it again, with the same nonces, until you have an answer. A scan with `offline` tells that somebody was let in
    already: it is recorded in any case, and `conflict` says that it should have been refused.
    """
    scans = [scan.to_scan() for scan in body.scans]
    with services().sessions.begin() as session:
        outcomes = check_ins.check_in(
            session, services().signer, current_actor(), body.event_id, body.gate, scans, services().clock.now()
        )
        results = [OutcomeBody.of(outcome) for outcome in outcomes]
    return answer(CheckInBody(results=results))


@blueprint.post("/check-ins/<uuid:scan_id>/undo", summary="Undo a check-in", responses={200: ScanBody})
@describes(problems=("forbidden", "check-in-not-undoable"))
@require(*UserRole, fresh=True)
def undo_check_in(path: CheckInPath) -> Response:
    """Let a ticket in again that was checked in by mistake; `scan_id` is the scan that used it. For who may manage."""
    with services().sessions.begin() as session:
        scan = check_ins.undo(session, current_actor(), path.scan_id, services().clock.now())
        return answer(ScanBody.of(scan))
