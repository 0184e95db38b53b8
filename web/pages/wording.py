"""What the pages call things: an order's stage, what happened to it, an offer's state, in words of a buyer.

Why an order ended is said as in our mails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapters.letters import REASONS, moment, money
from domain.line import Place
from domain.models import Order, TicketTransfer, Waitlist
from domain.rules.lifecycle import CONFIRMED
from domain.rules.places import Outlook
from domain.rules.states import (
    OrderReason,
    OrderSource,
    OrderStage,
    OrderStatus,
    PaymentStatus,
    TransferStatus,
    WaitlistStatus,
)


@dataclass(frozen=True, slots=True)
class Words:
    """How things stand: a headline, and a sentence or two below it."""

    title: str
    text: str


OUTLOOKS: Mapping[Outlook, str] = {
    Outlook.COVERED: "As many tickets as all before you want are there.",
    Outlook.UNLIKELY: "Those before you want more than is left: it is your turn only if some of them give up.",
    Outlook.NO: "It is sold out, and so it will stay as far as we can tell.",
}
"""What a place in line is worth."""

STAGES: Mapping[OrderStage, Words] = {
    OrderStage.QUEUED: Words("You are in line", "Your place is safe, even if you close this page."),
    OrderStage.PARTLY_HELD: Words("Nearly there", "A part of your order is reserved, and the rest is next in line."),
    OrderStage.AWAITING_APPROVAL: Words(
        "Waiting for the organiser",
        "Your tickets are reserved. The organiser looks at your order, and then you can pay.",
    ),
    OrderStage.HELD: Words("Your tickets are reserved", "We are preparing the next step."),
    OrderStage.AWAITING_PAYMENT: Words(
        "Your tickets are reserved", "Pay in the app or shop in which you log in to your account."
    ),
    OrderStage.PAYMENT_DELAYED: Words(
        "Your tickets are reserved", "The payment takes longer than usual. We keep trying; there is nothing to repeat."
    ),
    OrderStage.PROCESSING: Words(
        "Your payment is on its way", "Your tickets stay reserved until the bank has answered."
    ),
    OrderStage.EXPIRING: Words("Your order is being cancelled", ""),
    OrderStage.OFFERED: Words("Tickets are kept for you", "Take them up by the link in our mail about the waitlist."),
    OrderStage.ISSUING: Words("Your tickets are being made", "Thank you! They appear here in a moment."),
    OrderStage.COMPLETE: Words("Your tickets", "Show a code at the entrance, on your phone or on paper."),
    OrderStage.CLOSED: Words("Your order was cancelled", ""),
    OrderStage.QUARANTINED: Words(
        "We are looking into it",
        "Something went wrong on our side. You have not been charged, and need not order again.",
    ),
}
"""Each stage; what ends an order is said by its reason."""

EVENTS: Mapping[str, str] = {
    "accepted": "Order received",
    "partly_held": "Part of it reserved",
    "held": "Tickets reserved",
    "awaiting_approval": "Sent to the organiser",
    "approved": "Approved by the organiser",
    "quarantined": "Set aside to be looked into",
    "offered": "Offered to you from the waitlist",
    "offer_accepted": "Offer taken up",
    "payment_opened": "Ready to be paid",
    "payment_delayed": "Payment delayed",
    "payment_started": "Payment begun",
    "payment_action_required": "Your bank asks you to confirm the payment",
    "payment_failed": "Payment declined",
    "hold_extended": "More time to pay",
    "expiring": "Cancelling",
    "cancelled": "Cancelled",
    "confirmed": "Confirmed",
    "tickets_issued": "Tickets made",
    "mail_sent": "Mail sent to you",
    "mail_delivered": "Mail delivered",
    "late_payment": "Payment came after the time had run out",
    "refund_requested": "Refund asked for",
    "refund_failed": "Refund failed; we look into it",
    "refund_left_to_bank": "Given back by your bank instead",
    "refunded": "Refunded",
    "payment_disputed": "Payment disputed; tickets blocked until the bank decides",
    "dispute_won": "Dispute over; the payment stands",
    "dispute_lost": "Payment taken back by your bank",
    "ticket_transferred": "A ticket was handed on",
}
"""What happens to orders, by the timeline's kinds."""

_ENTRIES: Mapping[WaitlistStatus, Words] = {
    WaitlistStatus.ACCEPTED: Words("You took up the offer", "Your order tells how it goes on."),
    WaitlistStatus.DECLINED: Words("You declined the offer", "Thank you: now the next in line need not wait."),
    WaitlistStatus.LEFT: Words("You left the waitlist", "Nothing is kept for you any more."),
    WaitlistStatus.EXPIRED: Words("The waitlist is closed", "No tickets came free for you. We are sorry."),
}
"""Entries of which nothing more is to be said."""

_TRANSFERS: Mapping[TransferStatus, Words] = {
    TransferStatus.ACCEPTED: Words("The ticket is yours", "It comes by mail, with a code of its own."),
    TransferStatus.DECLINED: Words("You declined the ticket", "It stays with whoever offered it to you."),
    TransferStatus.CANCELLED: Words("The offer was taken back", "The ticket stays with whoever offered it to you."),
    TransferStatus.EXPIRED: Words("The offer has expired", "The ticket stays with whoever offered it to you."),
    TransferStatus.VOID: Words("The offer has ended", "The ticket cannot be handed on any more."),
}
"""Transfers of which nothing more is to be said."""

_BANKS = "It goes back the way you paid; most banks show it within 5 to 10 working days."


def of_order(order: Order) -> Words:
    """Say how an order stands."""
    words = STAGES[order.stage]
    if order.stage in CONFIRMED and order.event.is_cancelled:
        return Words("The event was cancelled", f"{_payback(order)} These tickets are no longer valid.".strip())
    if order.status is OrderStatus.REFUNDED:
        reason = f"{REASONS[order.reason]} " if order.reason else ""
        return Words("Your order was refunded", f"{reason}We have sent your money back. {_BANKS}")
    if order.stage is OrderStage.CLOSED:
        return Words(words.title, f"{_reason(order)} {_payback(order)}".strip())
    if order.stage is OrderStage.EXPIRING:
        return Words(
            words.title, f"{_reason(order)} A payment that still arrives ends in tickets or in a refund.".strip()
        )
    return words


def of_place(place: Place) -> str:
    """Say where an order stands in line."""
    if place.is_paused:
        rank = "You are next" if not place.ahead else f"You are number {place.position}"
        return f"{rank}. The sale is paused at the moment; it goes on from your place."
    rank = f"You are number {place.position} in line{_wait(place.eta_seconds)}." if place.ahead else "You are next."
    return f"{rank} {OUTLOOKS[place.outlook]}".strip()


def of_offer(entry: Waitlist) -> Words:
    """Say how a person's place in a waitlist, or the offer that came of it, stands."""
    until = moment(entry.offer_expires_at, entry.event.timezone) if entry.offer_expires_at else ""
    if entry.is_expired and entry.offered_order_id is not None:
        return Words("The offer has expired", f"It stood until {until}. The tickets go to the next in line.")
    if entry.status is WaitlistStatus.OFFERED:
        title = "A ticket has come free" if entry.quantity == 1 else "Tickets have come free"
        return Words(title, f"Kept for you until {until}. After that the offer goes to the next in line.")
    if entry.is_waiting:
        return Words("You are on the waitlist", f"You are number {entry.position}. We write when it is your turn.")
    return _ENTRIES[entry.status]


def of_transfer(transfer: TicketTransfer, now: datetime) -> Words:
    """Say to its recipient how a transfer stands."""
    if not transfer.is_pending:
        return _TRANSFERS[transfer.status]
    if transfer.expires_at <= now:
        return _TRANSFERS[TransferStatus.EXPIRED]
    until = moment(transfer.expires_at, transfer.ticket.event.timezone)
    return Words("A ticket for you", f"Kept for you until {until}.")


def of_event(kind: str, data: Mapping[str, Any]) -> str:
    """Say what happened; an amount that moved is named."""
    words = EVENTS.get(kind, kind.replace("_", " ").capitalize())
    if "amount" in data and "currency" in data:
        return f"{words}: {money(data['amount'], data['currency'])}"
    return words


def clock_time(at: datetime, timezone: str) -> str:
    """Write a time briefly, on the clock of its place: `14 Mar, 19:30`."""
    local = at.astimezone(ZoneInfo(timezone))
    return f"{local.day} {local:%b}, {local:%H:%M}"


def _reason(order: Order) -> str:
    if order.reason is OrderReason.DECLINED and order.source is OrderSource.WAITLIST:
        return "You declined the offer."
    return REASONS[order.reason] if order.reason else ""


def _payback(order: Order) -> str:
    """Say that money which was paid comes back."""
    if order.payment_status is PaymentStatus.COMPLETED and order.refunded < order.total:
        return f"You get your money back without doing anything. {_BANKS}"
    return ""


def _wait(seconds: int | None) -> str:
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    return f", about {minutes} minutes" if minutes > 1 else ", about a minute or less"
