"""The page of an order, for whoever holds the link from its mails: it shows, changes nothing, and takes no money."""

import random
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Response, request

from domain import orders
from domain.line import Place
from domain.mail_links import let_buyer_in
from domain.models import Order, Ticket
from domain.payments.returned_tickets import LIVE
from domain.rules.lifecycle import WAITING
from domain.rules.polling import retry_after
from domain.rules.states import OrderStage
from web.auth import current_actor, public
from web.pages import wording
from web.pages.page import open_pages, page
from web.services import services

blueprint = open_pages("order_pages")

_REFRESH_SECONDS = 4
"""A page that a person reads is not renewed more often."""


@blueprint.get("/orders/<uuid:order_id>")
@public
def show_order(order_id: UUID) -> Response:
    """Show where an order stands, and its tickets."""
    parts = services()
    with parts.sessions() as session:
        buyer = let_buyer_in(session, parts.tokens, order_id, request.args.get("token", ""), current_actor())
        order = orders.find(session, order_id, buyer)
        place = parts.lines.find_place(session, order_id) if order.stage in WAITING else None
        tickets = orders.find_tickets(session, [order_id])[order_id] if order.stage is OrderStage.COMPLETE else []
        return page(
            "order.html",
            order=order,
            words=wording.of_order(order),
            place=wording.of_place(place) if place else None,
            tickets=[_card(order, ticket) for ticket in tickets],
            files=_files(order) if any(_opens(order, ticket) for ticket in tickets) else [],
            timeline=[
                (entry.at, wording.clock_time(entry.at, order.event.timezone), wording.of_event(entry.kind, entry.data))
                for entry in order.timeline
            ],
            refresh=_refresh_seconds(order, place),
        )


def _files(order: Order) -> list[tuple[str, str]]:
    return [("Print the tickets (PDF)", _file(order, "tickets.pdf")), ("Add to calendar", _file(order, "event.ics"))]


def _wallets(order: Order, ticket: Ticket) -> list[tuple[str, str]]:
    kinds = {
        "apple": ("Add to Apple Wallet", f"tickets/{ticket.id}/ticket.pkpass"),
        "google": ("Add to Google Wallet", f"tickets/{ticket.id}/google-wallet"),
    }
    there = services().settings.wallets
    return [(name, _file(order, path)) for kind, (name, path) in kinds.items() if kind in there]


def _file(order: Order, path: str) -> str:
    """Return where a file of the order's page is: the same link lets its holder in."""
    return f"/orders/{order.id}/{path}?{urlencode({'token': request.args.get('token', '')})}"


def _opens(order: Order, ticket: Ticket) -> bool:
    return ticket.holder_id == order.user_id and ticket.is_valid and not order.event.is_cancelled


def _card(order: Order, ticket: Ticket) -> dict[str, Any]:
    """Return what the page says of a ticket; whoever handed theirs on no longer sees the code."""
    is_own = ticket.holder_id == order.user_id
    opens = _opens(order, ticket)
    return {
        "tier": next(item.tier.name for item in order.items if item.id == ticket.order_item_id),
        "attendee": ticket.attendee_name if is_own else None,
        "code": ticket.code if opens else None,
        "image": ticket.qr_image if opens else None,
        "wallets": _wallets(order, ticket) if opens else [],
        "state": None if opens else _state(ticket, is_own=is_own),
    }


def _state(ticket: Ticket, *, is_own: bool) -> str:
    if not is_own:
        return "Handed on to somebody else"
    if ticket.blocked_at is not None:
        return "Blocked while a dispute about the payment is open"
    if ticket.refund_id is not None and ticket.status in LIVE:
        return "Being refunded"
    return "Not valid" if ticket.is_valid else ticket.status.value.capitalize()


def _refresh_seconds(order: Order, place: Place | None) -> int | None:
    seconds = retry_after(
        order.stage,
        place.eta_seconds if place else None,
        is_paused=place is not None and place.is_paused,
        chance=random.random(),  # noqa: S311 spreads browsers, protects nothing
        ahead=place.ahead if place else 0,
    )
    return None if seconds is None else max(seconds, _REFRESH_SECONDS)
