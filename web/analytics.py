"""An event's figures for its promoter and their team. What they are is in domain/analytics.py."""

from flask import Response

from domain import analytics
from web.auth import current_actor
from web.openapi import describes, open_blueprint
from web.responses import answer
from web.schemas.analytics import AnalyticsArguments, AnalyticsBody
from web.schemas.events import EventPath
from web.services import services

blueprint = open_blueprint("analytics", "An event's figures, for those who sell it.")


@blueprint.get("/events/<uuid:event_id>/analytics", summary="An event's figures", responses={200: AnalyticsBody})
@describes(problems=("forbidden",))
def read_analytics(path: EventPath, query: AnalyticsArguments) -> Response:
    """Return how an event sells, as it was counted lately: `as_of` says when, `age_seconds` how long ago."""
    now = services().clock.now()
    since, until = analytics.window(query.since, query.until, now)
    with services().sessions() as session:
        figures = analytics.read(session, current_actor(), path.event_id, since, until)
        return answer(AnalyticsBody.of(figures, since=since, until=until, now=now))
