"""The page of a waitlist's offer, for whoever holds the link from its mail.

Opening it changes nothing, because mail scanners open links: only its buttons act, by POST. The token in the form is
the secret that a forged form could not know, so no other is needed.
"""

from uuid import UUID

from flask import Response, request

from domain import orders, waitlist
from domain.errors import ConflictError
from domain.mail_links import let_waiter_in, offer_path, order_path
from domain.rules.states import WaitlistStatus
from web.auth import current_actor, public
from web.pages import wording
from web.pages.page import lead_to, open_pages, page
from web.services import services

blueprint = open_pages("waitlist_pages")


@blueprint.get("/waitlist/<uuid:entry_id>/offer")
@public
def show_offer(entry_id: UUID) -> Response:
    """Show the offer, and ask for an answer while it stands."""
    return _offer_page(entry_id, request.args.get("token", ""))


@blueprint.post("/waitlist/<uuid:entry_id>/offer")
@public
def answer_offer(entry_id: UUID) -> Response:
    """Accept or decline; when nothing stands that could be answered, show how things are."""
    parts = services()
    token = request.form.get("token", "")
    try:
        match request.form.get("answer"):
            case "accept":
                return lead_to(_accept(entry_id, token))
            case "decline":
                with parts.sessions.begin() as session:
                    person = let_waiter_in(session, parts.tokens, entry_id, token, current_actor())
                    waitlist.decline(session, entry_id, person, parts.clock.now())
                return lead_to(offer_path(parts.tokens, entry_id))
    except ConflictError:
        return _offer_page(entry_id, token, status=409)
    return _offer_page(entry_id, token, status=422)


def _accept(entry_id: UUID, token: str) -> str:
    """Take up the offer, and return the path of its order's page."""
    parts = services()
    with parts.sessions.begin() as session:
        person = let_waiter_in(session, parts.tokens, entry_id, token, current_actor())
        order_id = waitlist.accept(session, entry_id, person, parts.clocks, parts.clock.now())
    return order_path(parts.tokens, order_id)


def _offer_page(entry_id: UUID, token: str, *, status: int = 200) -> Response:
    parts = services()
    with parts.sessions() as session:
        person = let_waiter_in(session, parts.tokens, entry_id, token, current_actor())
        entry = waitlist.find(session, entry_id, person)
        order = orders.find(session, entry.offered_order_id, person) if entry.offered_order_id else None
        is_accepted = entry.status is WaitlistStatus.ACCEPTED
        return page(
            "offer.html",
            status=status,
            entry=entry,
            order=order,
            words=wording.of_offer(entry),
            token=token,
            stands=entry.status is WaitlistStatus.OFFERED and not entry.is_expired,
            order_link=order_path(parts.tokens, order.id) if order and is_accepted else None,
        )
