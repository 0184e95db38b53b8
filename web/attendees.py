"""An event's attendees for its promoter and their team: a list, and files. The rules are in domain/attendees.py."""

from flask import Response

from domain import attendees
from domain.rules.states import UserRole
from web.auth import current_actor, require
from web.exports import answer_csv, answer_xlsx, as_csv, as_xlsx
from web.openapi import describes, open_blueprint
from web.paging import Page, cut
from web.responses import answer
from web.schemas.attendees import AttendeeArguments, AttendeeFilterArguments, EventAttendeeBody
from web.schemas.events import EventPath
from web.services import services

blueprint = open_blueprint("attendees", "Who holds an event's tickets, for those who sell it or stand at its door.")


@blueprint.get("/events/<uuid:event_id>/attendees", summary="List attendees", responses={200: Page[EventAttendeeBody]})
@describes(problems=("forbidden",))
def list_attendees(path: EventPath, query: AttendeeArguments) -> Response:
    """Return the tickets of an event that you sell or scan, newest first, by filters and a search."""
    before = query.after_id()
    with services().sessions() as session:
        found = attendees.list_attendees(
            session, current_actor(), path.event_id, query.wanted(), before=before, limit=query.limit
        )
    rows, next_cursor = cut(found, query.limit, lambda row: (row.id,))
    items = [EventAttendeeBody.model_validate(row) for row in rows]
    return answer(Page[EventAttendeeBody](items=items, next_cursor=next_cursor))


@blueprint.get("/events/<uuid:event_id>/attendees.csv", summary="Export attendees as CSV", responses={200: None})
@as_csv
@require(*UserRole, fresh=True)
def export_attendees_as_csv(path: EventPath, query: AttendeeFilterArguments) -> Response:
    """Return all tickets that the list would show, as they are read; for those who sell. It is put on record."""
    actor, wanted = current_actor(), query.wanted()
    return answer_csv(lambda session: attendees.begin_export(session, actor, path.event_id, wanted, "csv"))


@blueprint.get("/events/<uuid:event_id>/attendees.xlsx", summary="Export attendees as XLSX", responses={200: None})
@as_xlsx
@require(*UserRole, fresh=True)
def export_attendees_as_xlsx(path: EventPath, query: AttendeeFilterArguments) -> Response:
    """Return all tickets that the list would show, 100,000 at most; for those who sell. It is put on record."""
    actor, wanted = current_actor(), query.wanted()
    return answer_xlsx(lambda session: attendees.begin_export(session, actor, path.event_id, wanted, "xlsx"))
