"""Routes of what became of mails: an event's for its sellers, and for admins the addresses that get none."""

from flask import Response
from sqlalchemy import Row

from domain import event_mail, suppressions
from domain.models import EmailNotification
from domain.rules.states import UserRole
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer, nothing
from web.schemas.event_mail import EventMailBody, SuppressionBody, SuppressionPath, TemplateCounts, UndeliverableBody
from web.schemas.events import EventPath
from web.services import services

blueprint = open_blueprint("mail", "What became of the mails about an event, and addresses that get none.")


@blueprint.get("/events/<uuid:event_id>/mail", summary="How an event's mails stand", responses={200: EventMailBody})
@describes(problems=("forbidden",))
def count_mails(path: EventPath) -> Response:
    """Return how many mails of each template stand how. Needs the right to sell."""
    with services().sessions() as session:
        counts = event_mail.count_mails(session, current_actor(), path.event_id)
    templates = [TemplateCounts(template=template, mails=mails) for template, mails in counts.items()]
    return answer(EventMailBody(templates=templates))


@blueprint.get(
    "/events/<uuid:event_id>/mail/undeliverable",
    summary="Addresses that mail does not reach",
    responses={200: Page[UndeliverableBody]},
)
@describes(problems=("forbidden",))
def list_undeliverable(path: EventPath, query: PageArguments) -> Response:
    """Return the addresses that mail about your event did not reach, in alphabetical order."""
    key = query.after(str)
    with services().sessions() as session:
        found = event_mail.list_undeliverable(
            session, current_actor(), path.event_id, after=key[0] if key else None, limit=query.limit
        )
        rows, next_cursor = cut(found, query.limit, lambda row: (row[0].recipient,))
        items = [_show(row) for row in rows]
    return answer(Page[UndeliverableBody](items=items, next_cursor=next_cursor))


@blueprint.get("/admin/mail-suppressions", summary="Suppressed addresses", responses={200: Page[SuppressionBody]})
@require(UserRole.ADMIN, fresh=True)
def list_suppressions(query: PageArguments) -> Response:
    """Return the addresses that bounced or complained, newest first."""
    before = query.after_id()
    with services().sessions() as session:
        found = suppressions.list_suppressions(session, before=before, limit=query.limit)
        rows, next_cursor = cut(found, query.limit, lambda row: (row.id,))
        items = [SuppressionBody.model_validate(row) for row in rows]
    return answer(Page[SuppressionBody](items=items, next_cursor=next_cursor))


@blueprint.delete("/admin/mail-suppressions/<uuid:suppression_id>", summary="Lift a suppression", responses={204: None})
@require(UserRole.ADMIN, fresh=True)
def lift_suppression(path: SuppressionPath) -> Response:
    """Let mail go to an address again; mails that were held back are not sent after all."""
    with services().sessions.begin() as session:
        suppressions.lift(session, current_actor(), path.suppression_id)
    return nothing()


def _show(row: Row[EmailNotification, str]) -> UndeliverableBody:
    mail, number = row
    return UndeliverableBody(
        address=mail.recipient,
        name=mail.recipient_name,
        order_number=number,
        template=mail.template,
        status=mail.status,
        reason=mail.error,
        at=mail.bounced_at or mail.updated_at,
    )
