"""The page of an announcement's reader who wants no more of them, and the one click of mail programs (RFC 8058).

Opening it changes nothing, because mail scanners open links: only its buttons and the one click act, by POST.
"""

from uuid import UUID

from flask import Response, request

from domain import unsubscriptions
from domain.mail_links import let_reader_in, unsubscribe_path
from web.auth import current_actor, public
from web.pages.page import lead_to, open_pages, page
from web.services import services

blueprint = open_pages("unsubscribe_pages")

_ACTS = {"unsubscribe": unsubscriptions.unsubscribe, "resubscribe": unsubscriptions.resubscribe}


@blueprint.get("/unsubscribe/<uuid:mail_id>")
@public
def ask_reader(mail_id: UUID) -> Response:
    """Say whose announcements come, and ask whether they should."""
    return _reader_page(mail_id, request.args.get("token", ""))


@blueprint.post("/unsubscribe/<uuid:mail_id>")
@public
def answer_reader(mail_id: UUID) -> Response:
    """Do as the reader says; a mail program's click has the token in the address and wants no page to follow."""
    is_one_click = request.form.get("List-Unsubscribe") == "One-Click"
    token = request.args.get("token", "") if is_one_click else request.form.get("token", "")
    act = _ACTS.get("unsubscribe" if is_one_click else request.form.get("answer", ""))
    if act is None:
        return _reader_page(mail_id, token, status=422)
    parts = services()
    with parts.sessions.begin() as session:
        reader = let_reader_in(session, parts.tokens, mail_id, token, current_actor())
        act(session, reader, unsubscriptions.find_sender(session, mail_id))
    return _reader_page(mail_id, token) if is_one_click else lead_to(unsubscribe_path(parts.tokens, mail_id))


def _reader_page(mail_id: UUID, token: str, *, status: int = 200) -> Response:
    parts = services()
    with parts.sessions() as session:
        reader = let_reader_in(session, parts.tokens, mail_id, token, current_actor())
        promoter = unsubscriptions.find_sender(session, mail_id)
        return page(
            "unsubscribe.html",
            status=status,
            promoter=promoter.display_name,
            is_unsubscribed=unsubscriptions.is_unsubscribed(session, reader, promoter),
            mail_id=mail_id,
            token=token,
        )
