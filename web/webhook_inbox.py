"""Routes of the webhook inbox, for admins: `/admin/webhook-inbox`. The rules are in domain/webhook_inbox.py."""

from flask import Response

from domain import webhook_inbox
from domain.rules.states import UserRole
from domain.webhook_inbox import InboxSearch
from web.auth import current_actor, require
from web.openapi import open_blueprint
from web.paging import Page, cut
from web.responses import answer
from web.schemas.webhook_inbox import InboxArguments, InboxEventBody, InboxEventPath, ListedEventBody
from web.services import services

blueprint = open_blueprint("webhook inbox", "What Stripe and SendGrid reported, and what became of it; for admins.")


@blueprint.get("/admin/webhook-inbox", summary="List the inbox", responses={200: Page[ListedEventBody]})
@require(UserRole.ADMIN, fresh=True)
def list_events(query: InboxArguments) -> Response:
    """Return events, newest first, without their payloads."""
    wanted = InboxSearch(**query.model_dump(exclude={"limit", "cursor"}))
    with services().sessions() as session:
        found = webhook_inbox.search(session, wanted, before=query.after_id(), limit=query.limit)
    rows, next_cursor = cut(found, query.limit, lambda event: (event.id,))
    items = [ListedEventBody.of(event) for event in rows]
    return answer(Page[ListedEventBody](items=items, next_cursor=next_cursor))


@blueprint.get(
    "/admin/webhook-inbox/<uuid:webhook_event_id>", summary="An event of the inbox", responses={200: InboxEventBody}
)
@require(UserRole.ADMIN, fresh=True)
def show_event(path: InboxEventPath) -> Response:
    """Return an event with what it said; secrets are hidden."""
    with services().sessions() as session:
        return answer(InboxEventBody.of(webhook_inbox.find(session, path.webhook_event_id)))


@blueprint.post(
    "/admin/webhook-inbox/<uuid:webhook_event_id>/replay",
    summary="Handle an event again",
    responses={202: InboxEventBody},
)
@require(UserRole.ADMIN, fresh=True)
def replay_event(path: InboxEventPath) -> Response:
    """Let a worker handle an event again, as if it had just come. One that was handled changes nothing twice."""
    with services().sessions.begin() as session:
        event = webhook_inbox.replay(session, current_actor(), path.webhook_event_id)
    return answer(InboxEventBody.of(event), 202)
