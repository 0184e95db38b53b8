"""Routes of announcements. The rules are in domain/announcements.py, their going out in domain/mailings.py."""

from dataclasses import asdict

from flask import Response
from sqlalchemy.orm import Session

from adapters.letters import Letters
from domain import announcements
from domain.models import Mailing
from domain.rules.states import UserRole
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer
from web.schemas.announcements import (
    AnnouncementBody,
    AnnouncementPath,
    AnnouncementPreviewBody,
    AnnouncementProgressBody,
    AnnouncementRequest,
    path_of,
)
from web.schemas.events import EventPath
from web.services import services

blueprint = open_blueprint("announcements", "What promoters write to the ticket holders of an event.")

_ONE = "/events/<uuid:event_id>/announcements/<uuid:announcement_id>"


@blueprint.post(
    "/events/<uuid:event_id>/announcements", summary="Draft an announcement", responses={201: AnnouncementBody}
)
@describes(problems=("forbidden",), headers={201: {"Location": "Where the announcement is."}})
def create_announcement(path: EventPath, body: AnnouncementRequest) -> Response:
    """Write a draft, which goes nowhere until you send it. Needs the right to manage the event."""
    with services().sessions.begin() as session:
        mailing = announcements.draft(session, current_actor(), path.event_id, body.draft())
        return answer(_show(session, mailing), 201, {"Location": path_of(mailing)})


@blueprint.get(
    "/events/<uuid:event_id>/announcements", summary="List announcements", responses={200: Page[AnnouncementBody]}
)
@describes(problems=("forbidden",))
def list_announcements(path: EventPath, query: PageArguments) -> Response:
    """Return the announcements of your event, newest first."""
    before = query.after_id()
    with services().sessions() as session:
        found = announcements.list_announcements(
            session, current_actor(), path.event_id, before=before, limit=query.limit
        )
        rows, next_cursor = cut(found, query.limit, lambda mailing: (mailing.id,))
        items = [AnnouncementBody.of(mailing) for mailing in rows]
    return answer(Page[AnnouncementBody](items=items, next_cursor=next_cursor))


@blueprint.get(_ONE, summary="An announcement's progress", responses={200: AnnouncementProgressBody})
@describes(problems=("forbidden",))
def read_announcement(path: AnnouncementPath) -> Response:
    """Return an announcement, whom it is for, and how its mails stand."""
    with services().sessions() as session:
        mailing = announcements.read(session, current_actor(), path.event_id, path.announcement_id)
        return answer(AnnouncementProgressBody.measured(mailing, announcements.measure(session, mailing)))


@blueprint.get(f"{_ONE}/preview", summary="Preview an announcement", responses={200: AnnouncementPreviewBody})
@describes(problems=("forbidden",))
def preview_announcement(path: AnnouncementPath) -> Response:
    """Return the mail as a reader gets it; nothing is sent, and its link to unsubscribe leads nowhere."""
    with services().sessions() as session:
        mailing = announcements.read(session, current_actor(), path.event_id, path.announcement_id)
        rendered = Letters().render(announcements.preview(mailing))
    return answer(AnnouncementPreviewBody(**asdict(rendered)))


@blueprint.post(f"{_ONE}/send", summary="Send an announcement", responses={202: AnnouncementBody})
@describes(problems=("forbidden", "announcement-cancelled"))
@require(*UserRole, fresh=True)
def send_announcement(path: AnnouncementPath) -> Response:
    """Let a draft go out, so many mails per minute, one per person. Sending again changes nothing."""
    parts = services()
    with parts.sessions.begin() as session:
        mailing = announcements.send(session, current_actor(), path.event_id, path.announcement_id, parts.clock.now())
        return answer(_show(session, mailing), 202)


@blueprint.post(f"{_ONE}/cancel", summary="Call an announcement off", responses={200: AnnouncementBody})
@describes(problems=("forbidden", "announcement-sent"))
def cancel_announcement(path: AnnouncementPath) -> Response:
    """Stop an announcement, also while it goes out: mails that have not left stay here. Again changes nothing."""
    parts = services()
    with parts.sessions.begin() as session:
        mailing = announcements.cancel(session, current_actor(), path.event_id, path.announcement_id, parts.clock.now())
        return answer(_show(session, mailing))


def _show(session: Session, mailing: Mailing) -> AnnouncementBody:
    """Show an announcement as this transaction leaves it."""
    session.flush()
    return AnnouncementBody.of(mailing)
