"""What each mail says: the letter of an outbox row, composed from rows that are read when it is sent.

An order's letters need nothing but the order; the row's own `context` adds what no other row says, and wins.
When mails are sent, and what becomes of them, is in `notifications.py`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from domain.documents import about_event
from domain.mail_links import offer_path, order_path, transfer_path, unsubscribe_path
from domain.mailing_letters import facts_of, find_mailing, is_wanted, unsubscribe_headers
from domain.models import EmailNotification, Event, Order, Ticket, TicketTransfer, Waitlist
from domain.one_time_tokens import TokenKeyring, with_link
from domain.ports import Attachment, EventFacts, Letter
from domain.rules.states import OrderStage as S
from domain.rules.states import TicketStatus
from domain.venues import address_of

TIMELY: Mapping[str, frozenset[S]] = {
    "order_confirmed": frozenset({S.ISSUING, S.COMPLETE}),
    "order_held": frozenset({S.HELD, S.AWAITING_PAYMENT, S.PAYMENT_DELAYED, S.PROCESSING}),
    "waitlist_offer": frozenset({S.OFFERED}),
    "order_awaiting_approval": frozenset({S.AWAITING_APPROVAL}),
    "event_changed": frozenset({S.ISSUING, S.COMPLETE}),
    "reminder": frozenset({S.ISSUING, S.COMPLETE}),
}
"""Stages of the order in which a letter still makes sense; letters that are not named here always do."""


class Unsent(Enum):
    """Why a mail is not sent now."""

    NOT_YET = "what it encloses is not ready"
    MOOT = "what it would say is no longer so"


@dataclass(frozen=True, slots=True)
class Links:
    """What links are made of: where they lead, and the keys of those that act for their reader."""

    public_url: str
    tokens: TokenKeyring


class Contents(NamedTuple):
    """What rows say in a letter, and what it encloses."""

    facts: dict[str, Any]
    attachments: Sequence[Attachment] = ()
    event: EventFacts | None = None


def compose(session: Session, mail: EmailNotification, links: Links) -> Letter | Unsent:
    """Compose a mail as of now, or say why it is not sent."""
    contents = _write(session, mail, links)
    if isinstance(contents, Unsent):
        return contents
    facts, attachments, event = contents
    if mail.mailing_id is not None:
        mailing = find_mailing(session, mail.mailing_id)
        if not is_wanted(session, mailing, mail):
            return Unsent.MOOT
        facts = {"order_link": None, "event": _about_event(mailing.event)} | facts | facts_of(mailing)
    if mail.template == "announcement":
        facts["unsubscribe_link"] = links.public_url + unsubscribe_path(links.tokens, mail.id)
    try:
        context = facts | with_link(mail.template, mail.context, links.tokens, links.public_url)
    except KeyError:
        # The key was taken away, and with it every link that it made.
        return Unsent.MOOT
    headers = unsubscribe_headers(context.get("unsubscribe_link"))
    return Letter(
        mail.id, mail.template, mail.recipient, mail.recipient_name, context, list(attachments), headers, event
    )


def _write(session: Session, mail: EmailNotification, links: Links) -> Contents | Unsent:
    if mail.order_id is not None:
        return _write_about_order(session, mail, mail.order_id, links)
    if "transfer_id" in mail.context:
        return _write_about_transfer(session, mail, links)
    if "event_id" in mail.context:
        return Contents({"event": _about_event(session.get_one(Event, UUID(mail.context["event_id"])))})
    return Contents({})


def _write_about_order(session: Session, mail: EmailNotification, order_id: UUID, links: Links) -> Contents | Unsent:
    order = session.get_one(Order, order_id, options=[joinedload(Order.event)])
    if order.stage not in TIMELY.get(mail.template, S):
        return Unsent.MOOT
    if mail.template == "order_held" and order.stage is S.HELD:
        return Unsent.NOT_YET  # until when, is known once the payment is open
    facts = _about_order(order, mail.template, links)
    if mail.template == "order_refunded":
        facts["returned_tickets"] = 0  # the mail's own context knows it, where some were
    if mail.template == "waitlist_offer":
        facts |= _about_offer(session, order, links)
    if mail.template != "order_confirmed":
        return Contents(facts)
    tickets = _tickets(session, order)
    if not tickets:
        return Unsent.MOOT
    if not all(ticket.qr_image for ticket in tickets):
        return Unsent.NOT_YET
    facts["tickets"] = [_about_ticket(place, ticket) for place, ticket in enumerate(tickets, 1)]
    pictures = [_picture(place, ticket) for place, ticket in enumerate(tickets, 1)]
    return Contents(facts, pictures, about_event(order.event))


def _write_about_transfer(session: Session, mail: EmailNotification, links: Links) -> Contents | Unsent:
    ticket_of = joinedload(TicketTransfer.ticket)
    options = [ticket_of.joinedload(Ticket.event), ticket_of.joinedload(Ticket.tier), joinedload(TicketTransfer.sender)]
    transfer = session.get_one(TicketTransfer, UUID(mail.context["transfer_id"]), options=options)
    facts, ticket = _about_transfer(transfer, links), transfer.ticket
    if mail.template in {"transfer_offered", "ticket_received"} and ticket.event.is_cancelled:
        return Unsent.MOOT
    if mail.template == "transfer_offered" and not transfer.is_pending:
        return Unsent.MOOT
    if mail.template != "ticket_received":
        return Contents(facts)
    if ticket.status is not TicketStatus.VALID or ticket.holder_id != mail.user_id:
        return Unsent.MOOT
    if not ticket.qr_image:
        return Unsent.NOT_YET
    return Contents(facts | {"tickets": [_about_ticket(1, ticket)]}, [_picture(1, ticket)], about_event(ticket.event))


def _about_order(order: Order, template: str, links: Links) -> dict[str, Any]:
    # An event's cancellation is told before its refunds are through: it promises all that was paid.
    promised = template == "event_cancelled" and order.is_paid
    return {
        "order_number": order.number,
        "order_link": links.public_url + order_path(links.tokens, order.id),
        "event": _about_event(order.event),
        "amounts": {
            "currency": order.currency,
            "subtotal": order.subtotal,
            "fees": order.fees,
            "tax": order.tax,
            "total": order.total,
            "refunded": order.total if promised else order.refunded,
        },
        "expires_at": order.promised_until,
        "reason": order.reason,
    }


def _about_event(event: Event) -> dict[str, Any]:
    return {
        "title": event.title,
        "starts_at": event.starts_at,
        "timezone": event.timezone,
        "venue": event.venue_name,
        "location": address_of(event),
    }


def _about_offer(session: Session, order: Order, links: Links) -> dict[str, Any]:
    entry = session.scalar(
        select(Waitlist).where(Waitlist.offered_order_id == order.id).options(joinedload(Waitlist.tier))
    )
    if entry is None:
        return {}
    # One page asks for the answer: scanners open links, so neither of them may act.
    page = links.public_url + offer_path(links.tokens, entry.id)
    return {
        "tier": entry.tier.name,
        "quantity": entry.quantity,
        "expires_at": entry.offer_expires_at,
        "accept_link": page,
        "decline_link": page,
    }


def _about_transfer(transfer: TicketTransfer, links: Links) -> dict[str, Any]:
    return {
        "event": _about_event(transfer.ticket.event),
        "is_event_cancelled": transfer.ticket.event.is_cancelled,
        "tier": transfer.ticket.tier.name,
        "sender_name": transfer.sender.full_name,
        "recipient": transfer.recipient_name or transfer.recipient_email,
        "outcome": transfer.status,
        "expires_at": transfer.expires_at,
        "transfer_link": links.public_url + transfer_path(links.tokens, transfer.id),
    }


def _tickets(session: Session, order: Order) -> list[Ticket]:
    """Return the tickets that open a door and are still the buyer's, in the order of their tiers and places."""
    return list(
        session.scalars(
            select(Ticket)
            .where(Ticket.order_id == order.id, Ticket.holder_id == order.user_id)
            .where(Ticket.status.in_([TicketStatus.VALID, TicketStatus.USED]))
            .order_by(Ticket.order_item_id, Ticket.position)
            .options(joinedload(Ticket.tier))
        )
    )


def _about_ticket(place: int, ticket: Ticket) -> dict[str, Any]:
    return {
        "code": ticket.code,
        "tier": ticket.tier.name,
        "attendee_name": ticket.attendee_name or None,
        "cid": _content_id(place),
    }


def _picture(place: int, ticket: Ticket) -> Attachment:
    name = _content_id(place)
    return Attachment(
        filename=f"{name}.png",
        media_type="image/png",
        content=base64.b64decode(ticket.qr_image or ""),
        content_id=name,
    )


def _content_id(place: int) -> str:
    return f"ticket-{place}"
