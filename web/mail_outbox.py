"""Routes of the mail outbox, for admins: `/admin/mail-outbox`. The rules are in domain/mail_outbox.py."""

from flask import Response

from domain import mail_outbox
from domain.mail_outbox import OutboxSearch
from domain.rules.states import UserRole
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.paging import Page, cut
from web.responses import answer
from web.schemas.mail_outbox import ListedMailBody, OutboxArguments, OutboxMailBody, OutboxMailPath
from web.services import services

blueprint = open_blueprint("mail outbox", "Mails that were written, and what became of them; for admins.")


@blueprint.get("/admin/mail-outbox", summary="List the outbox", responses={200: Page[ListedMailBody]})
@require(UserRole.ADMIN, fresh=True)
def list_mails(query: OutboxArguments) -> Response:
    """Return mails, newest first."""
    wanted = OutboxSearch(**query.model_dump(exclude={"limit", "cursor"}))
    with services().sessions() as session:
        found = mail_outbox.search(session, wanted, before=query.after_id(), limit=query.limit)
    rows, next_cursor = cut(found, query.limit, lambda mail: (mail.id,))
    items = [ListedMailBody.model_validate(mail) for mail in rows]
    return answer(Page[ListedMailBody](items=items, next_cursor=next_cursor))


@blueprint.get("/admin/mail-outbox/<uuid:mail_id>", summary="A mail of the outbox", responses={200: OutboxMailBody})
@require(UserRole.ADMIN, fresh=True)
def show_mail(path: OutboxMailPath) -> Response:
    """Return a mail with what its template was given beside the order; secrets are hidden."""
    with services().sessions() as session:
        return answer(OutboxMailBody.of(mail_outbox.find(session, path.mail_id)))


@blueprint.post(
    "/admin/mail-outbox/<uuid:mail_id>/replay", summary="Send a mail again", responses={202: OutboxMailBody}
)
@describes(problems=("mail-not-replayable",))
@require(UserRole.ADMIN, fresh=True)
def replay_mail(path: OutboxMailPath) -> Response:
    """Send a mail again that failed, bounced, or whose outcome is unknown. It says what is true when it is sent."""
    with services().sessions.begin() as session:
        mail = mail_outbox.replay(session, current_actor(), path.mail_id)
        session.flush()
    return answer(OutboxMailBody.of(mail), 202)
