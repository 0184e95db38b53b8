"""The page of a ticket that was offered to an address, for whoever holds the link from its mail.

Opening it changes nothing: only its buttons act, by POST, for the account that has proven the address. The token in the
form is the secret that a forged form could not know.
"""

from uuid import UUID

from flask import Response, request

from domain import transfers
from domain.errors import ConflictError
from domain.mail_links import let_recipient_in, transfer_path
from web.auth import current_actor, public
from web.pages import wording
from web.pages.page import lead_to, open_pages, page
from web.services import services

blueprint = open_pages("transfer_pages")

ANSWERS = {"accept": transfers.accept, "decline": transfers.decline}


@blueprint.get("/transfers/<uuid:transfer_id>")
@public
def show_transfer(transfer_id: UUID) -> Response:
    """Show the ticket, and ask for an answer while the offer stands."""
    return _transfer_page(transfer_id, request.args.get("token", ""))


@blueprint.post("/transfers/<uuid:transfer_id>")
@public
def answer_transfer(transfer_id: UUID) -> Response:
    """Accept or decline; when nothing stands that could be answered, show how things are."""
    parts, token = services(), request.form.get("token", "")
    act = ANSWERS.get(request.form.get("answer", ""))
    if act is None:
        return _transfer_page(transfer_id, token, status=422)
    with parts.sessions() as session:
        person = let_recipient_in(session, parts.tokens, transfer_id, token, current_actor())
    if person is None:
        return _transfer_page(transfer_id, token, status=409)
    try:
        with parts.sessions.begin() as session:
            act(session, transfer_id, person, parts.clock.now())
    except ConflictError as refusal:
        return _transfer_page(transfer_id, token, status=409, refusal=refusal.detail)
    return lead_to(transfer_path(parts.tokens, transfer_id))


def _transfer_page(transfer_id: UUID, token: str, *, status: int = 200, refusal: str | None = None) -> Response:
    parts, now = services(), services().clock.now()
    with parts.sessions() as session:
        person = let_recipient_in(session, parts.tokens, transfer_id, token, current_actor())
        transfer = transfers.read(session, transfer_id)
        return page(
            "transfer.html",
            status=status,
            transfer=transfer,
            event=transfer.ticket.event,
            words=wording.of_transfer(transfer, now),
            stands=transfer.is_pending and now < transfer.expires_at,
            has_account=person is not None,
            refusal=refusal,
            token=token,
        )
