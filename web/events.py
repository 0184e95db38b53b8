"""Routes of events. The rules are in domain/catalog.py, finding and reading in domain/listings.py."""

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from flask import Response
from sqlalchemy.orm import Session

from domain import catalog, duplicates, listings
from domain.catalog import UnpublishableError
from domain.models import Event
from domain.rules.states import UserRole
from web.auth import current_actor, current_user_id, public, require
from web.openapi import describes, open_blueprint
from web.paging import Page, cut
from web.problems import Problem
from web.responses import answer, nothing
from web.schemas.events import DuplicateRequest, EventBody, EventPath, EventRequest, EventSearch
from web.services import services

blueprint = open_blueprint("events", "What is on: found by anybody, made by promoters.")

PROMOTERS = (UserRole.PROMOTER, UserRole.ADMIN)


@blueprint.post("/events", summary="Create an event", responses={201: EventBody})
@describes(problems=("promoter-profile-required",), headers={201: {"Location": "Where the event is."}})
@require(*PROMOTERS)
def create_event(body: EventRequest) -> Response:
    """Create a draft, which only you and admins can see. The platform's fees are frozen in it."""
    with services().sessions.begin() as session:
        event = catalog.create_event(session, current_actor(), body.details(), services().platform)
        shown = _show(session, event)
    return answer(shown, 201, {"Location": shown.links.self})


@blueprint.get("/events", summary="Find events", responses={200: Page[EventBody]})
@public
def find_events(query: EventSearch) -> Response:
    """Return public events by their start; unless `from` is given, none that have ended."""
    after = query.after(datetime, UUID)
    key = (after[0], after[1]) if after else None
    with services().sessions() as session:
        if query.mine:
            rows = listings.find_own_events(session, current_user_id(), query.filter(), limit=query.limit, after=key)
        else:
            now = services().clock.now()
            rows = listings.find_events(session, query.filter(), now, limit=query.limit, after=key)
        page, cursor = cut(rows, query.limit, lambda event: (event.starts_at, event.id))
        return answer(Page[EventBody](items=[EventBody.of(event) for event in page], next_cursor=cursor))


@blueprint.get("/events/<uuid:event_id>", summary="Read an event", responses={200: EventBody})
@public
def read_event(path: EventPath) -> Response:
    """Return an event. Drafts and private events exist for their promoter, the team and admins only."""
    with services().sessions() as session:
        return answer(EventBody.of(listings.read_event(session, current_actor(), path.event_id)))


@blueprint.put("/events/<uuid:event_id>", summary="Edit an event", responses={200: EventBody})
@describes(problems=("forbidden", "event-closed", "event-published", "capacity-below-tiers"))
@require(*UserRole, fresh=True)
def update_event(path: EventPath, body: EventRequest) -> Response:
    """Replace what you say about an event. Orders keep the prices, fees and tax that they were made with.

    Holders and buyers are told by mail when a published event's title, times, venue or address change.
    """
    parts = services()
    with parts.sessions.begin() as session:
        event = catalog.update_event(
            session, current_actor(), path.event_id, body.details(), parts.platform, parts.clock.now()
        )
        return answer(_show(session, event))


@blueprint.delete("/events/<uuid:event_id>", summary="Delete an event", responses={204: None})
@describes(problems=("forbidden", "event-has-orders"))
def delete_event(path: EventPath) -> Response:
    """Remove a draft, or an event that nobody has ordered from; any other can be cancelled."""
    with services().sessions.begin() as session:
        catalog.delete_event(session, current_actor(), path.event_id, services().clock.now())
    return nothing()


@blueprint.post("/events/<uuid:event_id>/publish", summary="Put an event on sale", responses={200: EventBody})
@describes(problems=("forbidden", "event-not-publishable", "event-closed"))
def publish_event(path: EventPath) -> Response:
    """Publish a draft; everything that it lacks is listed in `errors`. Publishing again changes nothing."""
    parts = services()
    with parts.sessions.begin() as session:
        try:
            event = catalog.publish_event(session, current_actor(), path.event_id, parts.platform, parts.clock.now())
        except UnpublishableError as error:
            raise Problem(error.code, error.detail, errors=[asdict(fault) for fault in error.faults]) from None
        return answer(_show(session, event))


@blueprint.post("/events/<uuid:event_id>/cancel", summary="Call an event off", responses={200: EventBody})
@describes(problems=("event-not-published", "event-closed"))
@require(*PROMOTERS, fresh=True)
def cancel_event(path: EventPath) -> Response:
    """Cancel an event for good: nothing more is sold, and everybody who paid is refunded. Again changes nothing.

    It cannot be taken back, so it is the promoter's own to say, not their team's.
    """
    with services().sessions.begin() as session:
        event = catalog.cancel_event(session, current_actor(), path.event_id, services().clock.now())
        return answer(_show(session, event))


@blueprint.post("/events/<uuid:event_id>/duplicate", summary="Duplicate an event", responses={201: EventBody})
@describes(problems=("forbidden",), headers={201: {"Location": "Where the new draft is."}})
def duplicate_event(path: EventPath, body: DuplicateRequest) -> Response:
    """Create a draft like this event, with its tiers, perhaps at another time; nothing that was sold comes along."""
    parts = services()
    with parts.sessions.begin() as session:
        event = duplicates.duplicate_event(
            session, current_actor(), path.event_id, parts.platform, title=body.title, starts_at=body.starts_at
        )
        shown = _show(session, event)
    return answer(shown, 201, {"Location": shown.links.self})


def _show(session: Session, event: Event) -> EventBody:
    """Show an event as this transaction leaves it."""
    session.flush()
    # The server keeps these two.
    session.refresh(event, ["created_at", "updated_at"])
    return EventBody.of(event)
