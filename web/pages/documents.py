"""The files of an order's page, for whoever holds its link: the same as the API's, as its buyer gets them."""

from uuid import UUID

from flask import Response, request
from sqlalchemy.orm import Session

from domain import documents, orders
from domain.audit import Actor
from domain.mail_links import let_buyer_in
from domain.ports import TicketFacts
from web.auth import current_actor, public
from web.documents import apple_pass, calendar, google_link, pdf
from web.pages.page import lead_to, open_pages
from web.services import services

blueprint = open_pages("document_pages")


@blueprint.get("/orders/<uuid:order_id>/tickets.pdf")
@public
def print_order(order_id: UUID) -> Response:
    """Print the buyer's tickets."""
    with services().sessions() as session:
        tickets = documents.find_order_tickets(session, _holder(session, order_id), order_id)
    return pdf(tickets, "tickets.pdf")


@blueprint.get("/orders/<uuid:order_id>/event.ics")
@public
def show_event(order_id: UUID) -> Response:
    """Return the order's event for a calendar."""
    with services().sessions() as session:
        order = orders.find(session, order_id, _buyer(session, order_id))
        event = documents.about_event(order.event)
    return calendar(event)


@blueprint.get("/orders/<uuid:order_id>/tickets/<uuid:ticket_id>/ticket.pkpass")
@public
def show_apple_pass(order_id: UUID, ticket_id: UUID) -> Response:
    """Return a ticket of the order for Apple Wallet."""
    with services().sessions() as session:
        ticket = _ticket(session, order_id, ticket_id)
    return apple_pass(ticket)


@blueprint.get("/orders/<uuid:order_id>/tickets/<uuid:ticket_id>/google-wallet")
@public
def save_to_google(order_id: UUID, ticket_id: UUID) -> Response:
    """Lead to where a ticket of the order is saved to Google Wallet."""
    with services().sessions() as session:
        ticket = _ticket(session, order_id, ticket_id)
    return lead_to(google_link(ticket))


def _buyer(session: Session, order_id: UUID) -> Actor:
    """Return whose link this is; raise `NotFoundError` for whoever made one up."""
    return let_buyer_in(session, services().tokens, order_id, request.args.get("token", ""), current_actor())


def _ticket(session: Session, order_id: UUID, ticket_id: UUID) -> TicketFacts:
    """Return a ticket of the order; the link lets nobody in to another order's."""
    return documents.find_ticket(session, _holder(session, order_id), ticket_id, order_id)


def _holder(session: Session, order_id: UUID) -> UUID:
    holder_id = _buyer(session, order_id).user_id
    assert holder_id is not None
    return holder_id
