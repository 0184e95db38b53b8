"""Tickets of whoever is logged in, their QR codes, and the public keys to check them offline."""

import base64

from flask import Response

from domain import listings, tickets
from domain.documents import require_shown
from web.addresses import API
from web.auth import current_actor, current_user_id, public
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer
from web.schemas.events import EventPath
from web.schemas.tickets import TicketBody, TicketKey, TicketKeys, TicketPath
from web.services import services

PRIVATE = {"Cache-Control": "private, no-store"}

blueprint = open_blueprint("tickets", "What the holder shows at the door.")


@blueprint.get("/tickets", summary="List your tickets", responses={200: Page[TicketBody]})
def list_tickets(query: PageArguments) -> Response:
    """Return the tickets that you hold, newest first."""
    with services().sessions() as session:
        rows = tickets.list_tickets(session, current_user_id(), limit=query.limit, after=query.after_id())
        page, cursor = cut(rows, query.limit, lambda ticket: (ticket.id,))
        wallets = services().settings.wallets
        body = Page[TicketBody](items=[TicketBody.of(ticket, API, wallets) for ticket in page], next_cursor=cursor)
    return answer(body, headers=PRIVATE)


@blueprint.get("/tickets/<uuid:ticket_id>", summary="Read a ticket", responses={200: TicketBody})
def read_ticket(path: TicketPath) -> Response:
    """Return a ticket that you hold."""
    with services().sessions() as session:
        ticket = tickets.find_ticket(session, current_user_id(), path.ticket_id)
        body = TicketBody.of(ticket, API, services().settings.wallets)
    return answer(body, headers=PRIVATE)


@blueprint.get("/tickets/<uuid:ticket_id>/qr.png", summary="Fetch a ticket's QR code as PNG", responses={200: None})
@describes(problems=("conflict",), media_types={200: "image/png"})
def show_png(path: TicketPath) -> Response:
    """Return the picture as it was drawn when the ticket was issued."""
    with services().sessions() as session:
        ticket = require_shown(tickets.find_ticket(session, current_user_id(), path.ticket_id))
        picture = base64.b64decode(ticket.qr_image or "")
    return Response(picture, mimetype="image/png", headers=PRIVATE)


@blueprint.get("/tickets/<uuid:ticket_id>/qr.svg", summary="Fetch a ticket's QR code as SVG", responses={200: None})
@describes(problems=("conflict",), media_types={200: "image/svg+xml"})
def show_svg(path: TicketPath) -> Response:
    """Draw the picture for print, sharp at any size."""
    with services().sessions() as session:
        payload = require_shown(tickets.find_ticket(session, current_user_id(), path.ticket_id)).qr_payload or ""
    return Response(services().qr.svg(payload), mimetype="image/svg+xml", headers=PRIVATE)


@blueprint.get(
    "/events/<uuid:event_id>/ticket-keys",
    summary="Fetch the keys to check tickets offline",
    responses={200: TicketKeys},
)
@public
def show_ticket_keys(path: EventPath) -> Response:
    """Return the public keys by `kid`. Fetch them again when a ticket names an unknown one."""
    with services().sessions() as session:
        listings.read_event(session, current_actor(), path.event_id)
    keys = [TicketKey(kid=kid, x=_base64url(key)) for kid, key in services().signer.public_keys().items()]
    return answer(TicketKeys(event_id=path.event_id, keys=keys))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
