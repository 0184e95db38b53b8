"""Routes of the door: the list for gates that go offline, live figures, and conflicts."""

import hashlib

from flask import Response, request
from werkzeug.http import quote_etag

from domain import door
from web.auth import current_actor
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer
from web.schemas.check_ins import ScanBody
from web.schemas.door import DoorListArguments, DoorListBody, FiguresBody
from web.schemas.events import EventPath
from web.services import services

blueprint = open_blueprint("door", "What the door is told: the list to work offline, live figures, conflicts.")


@blueprint.get("/events/<uuid:event_id>/door-list", summary="Fetch the door list", responses={200: DoorListBody})
@describes(problems=("forbidden", "door-list-stale"))
def read_door_list(path: EventPath, query: DoorListArguments) -> Response:
    """Return the tickets that a gate needs to work offline, and from then on what has changed since its cursor.

    No change is left out; one may come twice. Keep each ticket as it came last. For who may scan.
    """
    with services().sessions() as session:
        found = door.read_list(session, current_actor(), path.event_id, after=query.after(), limit=query.limit)
        return answer(DoorListBody.of(found))


@blueprint.get(
    "/events/<uuid:event_id>/door",
    summary="See live figures of the door",
    responses={200: FiguresBody, 304: None},
)
@describes(
    problems=("forbidden",),
    headers={status: {"ETag": "Differs when a figure differs."} for status in (200, 304)},
    request_headers={"If-None-Match": ("The last ETag: 304 while nothing has changed.", False)},
)
def show_figures(path: EventPath) -> Response:
    """Return who is inside and who is to come, by tier, gate and quarter of an hour. For who may scan or sell."""
    with services().sessions() as session:
        response = answer(FiguresBody.of(door.read_figures(session, current_actor(), path.event_id)))
    tag = hashlib.sha256(response.get_data()).hexdigest()[:16]
    if request.if_none_match.contains_weak(tag):
        response = Response(status=304)
    response.headers["ETag"] = quote_etag(tag, weak=True)
    response.headers["Vary"] = "Authorization"
    return response


@blueprint.get(
    "/events/<uuid:event_id>/check-in-conflicts",
    summary="List conflicts of the door",
    responses={200: Page[ScanBody]},
)
@describes(problems=("forbidden",))
def list_conflicts(path: EventPath, query: PageArguments) -> Response:
    """Return offline scans that let somebody in who should have been refused, newest first, each with the one before.

    For who may scan or sell.
    """
    before = query.after_id()
    with services().sessions() as session:
        found = door.list_conflicts(session, current_actor(), path.event_id, before=before, limit=query.limit)
        page, next_cursor = cut(found, query.limit, lambda scan: (scan.id,))
        body = Page[ScanBody](items=[ScanBody.of(scan) for scan in page], next_cursor=next_cursor)
    return answer(body)
