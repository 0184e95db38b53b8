"""Files that people keep: tickets on paper, in their calendar and in their phone's wallet. Each is made when asked for.

What they say is in domain/documents.py. The pages of an order give the same files to whoever holds its link.
"""

from collections.abc import Sequence

from flask import Response

from domain import documents, listings
from domain.errors import BusyError, NotFoundError
from domain.ports import EventFacts, TicketFacts
from web.auth import current_actor, current_user_id, public
from web.openapi import describes, open_blueprint
from web.responses import answer
from web.schemas.events import EventPath
from web.schemas.orders import OrderPath
from web.schemas.tickets import SaveLink, TicketPath
from web.services import services

PDF, CALENDAR, APPLE_PASS = "application/pdf", "text/calendar", "application/vnd.apple.pkpass"
PRIVATE = {"Cache-Control": "private, no-store"}
_PATIENCE_SECONDS = 1

blueprint = open_blueprint("documents", "Tickets as files: on paper, in a calendar, in a wallet.")


@blueprint.get("/tickets/<uuid:ticket_id>/ticket.pdf", summary="Fetch a ticket as PDF", responses={200: None})
@describes(problems=("conflict", "busy"), media_types={200: PDF})
def print_ticket(path: TicketPath) -> Response:
    """Print a ticket that you hold, on one A5 page. A ticket that opens no door has none."""
    with services().sessions() as session:
        ticket = documents.find_ticket(session, current_user_id(), path.ticket_id)
    return pdf([ticket], "ticket.pdf")


@blueprint.get("/orders/<uuid:order_id>/tickets.pdf", summary="Fetch an order's tickets as PDF", responses={200: None})
@describes(problems=("conflict", "busy"), media_types={200: PDF})
def print_order(path: OrderPath) -> Response:
    """Print those tickets of an order that you hold and that open a door, a page each."""
    with services().sessions() as session:
        tickets = documents.find_order_tickets(session, current_user_id(), path.order_id)
    return pdf(tickets, "tickets.pdf")


@blueprint.get(
    "/tickets/<uuid:ticket_id>/event.ics", summary="Fetch a ticket's event for a calendar", responses={200: None}
)
@describes(problems=("conflict",), media_types={200: CALENDAR})
def show_ticket_event(path: TicketPath) -> Response:
    """Return the event of a ticket that you hold; its entry replaces earlier ones, and says if the event is off."""
    with services().sessions() as session:
        event = documents.find_event_of(session, current_user_id(), path.ticket_id)
    return calendar(event)


@blueprint.get("/events/<uuid:event_id>/event.ics", summary="Fetch an event for a calendar", responses={200: None})
@describes(media_types={200: CALENDAR})
@public
def show_event(path: EventPath) -> Response:
    """Return an event that you may see; its entry replaces earlier ones, and says if the event is off."""
    with services().sessions() as session:
        event = documents.about_event(listings.read_event(session, current_actor(), path.event_id))
    return calendar(event)


@blueprint.get(
    "/tickets/<uuid:ticket_id>/ticket.pkpass", summary="Fetch a ticket for Apple Wallet", responses={200: None}
)
@describes(problems=("conflict",), media_types={200: APPLE_PASS})
def show_apple_pass(path: TicketPath) -> Response:
    """Return a signed pass; 404 where passes are not set up, and then the ticket has no link to it."""
    with services().sessions() as session:
        ticket = documents.find_ticket(session, current_user_id(), path.ticket_id)
    return apple_pass(ticket)


@blueprint.get(
    "/tickets/<uuid:ticket_id>/google-wallet", summary="Fetch the link to Google Wallet", responses={200: SaveLink}
)
@describes(problems=("conflict",))
def show_google_link(path: TicketPath) -> Response:
    """Return the link that saves the ticket; 404 where passes are not set up, and then the ticket has no link to it."""
    with services().sessions() as session:
        ticket = documents.find_ticket(session, current_user_id(), path.ticket_id)
    return answer(SaveLink(url=google_link(ticket)), headers=PRIVATE)


def pdf(tickets: Sequence[TicketFacts], name: str) -> Response:
    """Print tickets; raise `BusyError` when others print on all the seats."""
    parts = services()
    if not parts.print_seats.acquire(blocking=False):
        raise BusyError("Others are printing at this moment.", retry_after=_PATIENCE_SECONDS)
    try:
        content = parts.printer.print(tickets)
    finally:
        parts.print_seats.release()
    return _file(content, PDF, name)


def calendar(event: EventFacts) -> Response:
    """Write an event for a calendar."""
    return _file(services().calendars.write(event), CALENDAR, "event.ics")


def apple_pass(ticket: TicketFacts) -> Response:
    """Issue a pass; raise `NotFoundError` where that is not set up."""
    issuer = services().apple_wallet
    if issuer is None:
        raise NotFoundError("pass")
    return _file(issuer.issue(ticket), APPLE_PASS, "ticket.pkpass")


def google_link(ticket: TicketFacts) -> str:
    """Return where a ticket is saved; raise `NotFoundError` where that is not set up."""
    parts = services()
    if parts.google_wallet is None:
        raise NotFoundError("pass")
    return parts.google_wallet.link(ticket, parts.clock.now())


def _file(content: bytes, media_type: str, name: str) -> Response:
    headers = {**PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, mimetype=media_type, headers=headers)
