"""Turns a `Letter` into subject, HTML and text with the templates of `mail_templates/`.

Each template is a pair: `name.txt` (whose `subject` block is the subject) and `name.html`. `CONTEXTS` is what
each needs. Choosing a letter, its recipient and its values is the domain's; sending is the mailer's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError, select_autoescape

from domain.errors import PermanentVendorError
from domain.ports import Letter
from domain.rules.money import exponent

_ABOUT_ORDER = frozenset({"order_number", "event", "order_link"})
CONTEXTS: Mapping[str, frozenset[str]] = {
    "verify_email": frozenset({"first_name", "link"}),
    "password_reset": frozenset({"first_name", "link", "expires_minutes"}),
    "account_erased": frozenset(),
    "order_held": _ABOUT_ORDER | {"amounts", "expires_at"},
    "order_confirmed": _ABOUT_ORDER | {"amounts", "tickets"},
    "order_cancelled": _ABOUT_ORDER | {"reason"},
    "order_refunded": _ABOUT_ORDER | {"amounts", "returned_tickets"},
    "late_payment_refunded": _ABOUT_ORDER | {"amounts"},
    "waitlist_offer": frozenset({"event", "tier", "quantity", "expires_at", "accept_link", "decline_link"}),
    "event_cancelled": _ABOUT_ORDER | {"amounts"},
    "order_awaiting_approval": _ABOUT_ORDER | {"amounts", "expires_at"},
    "orders_await_approval": frozenset({"event", "orders", "expires_at"}),
    "transfer_offered": frozenset({"event", "tier", "sender_name", "expires_at", "transfer_link"}),
    "transfer_accepted": frozenset({"event", "tier", "recipient"}),
    "transfer_refused": frozenset({"event", "tier", "recipient", "outcome"}),
    "ticket_received": frozenset({"event", "tickets", "sender_name"}),
    "ticket_withdrawn": frozenset({"event", "tier", "sender_name", "is_event_cancelled"}),
    "team_joined": frozenset({"first_name", "promoter", "rights"}),
    "webhook_disabled": frozenset({"first_name", "url", "disabled_reason"}),
    "event_changed": frozenset({"event", "order_link", "changes", "is_postponed", "refund_until"}),
    "reminder": frozenset({"event", "order_link", "doors_at"}),
    "announcement": frozenset({"event", "headline", "body", "promoter", "unsubscribe_link"}),
}
"""What each letter must be given: plain JSON values, so that a context can wait in a row.

- `event`: `title`, `starts_at`, `timezone` (IANA name), `venue`, `location` (the last two may be null)
- `amounts`: `currency`, `subtotal`, `fees`, `tax`, `total` in minor units; letters about refunds read only
  `currency`, `total` and `refunded` (all that has been given back so far)
- `tickets`: list of `code`, `tier`, `attendee_name` (may be null), `cid` (content id of its QR code's picture)
- `orders`: how many orders wait; `recipient`: a name or an address; `outcome`: how a transfer ended, if not in a new
  holder (domain.rules.states)
- `returned_tickets`: how many tickets a refund took, if its order lives on; else zero
- `rights`: values of TeamRight; `disabled_reason`: why an endpoint of webhooks was disabled by us
- `changes`: list of `what` (`title`, `starts_at`, `ends_at`, `venue_name`, `address`), `old`, `new` (may be null)
- letters to all of an event: `order_link` and `refund_until` may be null; `body` is plain text with blank lines between
  its paragraphs, of which web addresses become links
- `*_at`: ISO 8601 text or aware datetimes; `reason`: an order's reason (domain.rules.states)

`product` and `recipient_name` come from us.
"""

REASONS: Mapping[str, str] = {
    "sold_out": "The tickets sold out before it was your turn.",
    "limit_exceeded": "It asked for more tickets than one person may have, or than were left for its code.",
    "sale_closed": "The sale of these tickets was not open when you ordered.",
    "incomplete": "Part of it could no longer be served, and we only hand out an order whole.",
    "hold_expired": "The time to pay ran out, so the tickets went back on sale.",
    "approval_expired": "The organiser did not approve it in time.",
    "declined": "The organiser declined it.",
    "payment_failed": "The payment did not go through.",
    "offer_expired": "The offer from the waitlist was not taken up in time.",
    "buyer_cancelled": "You cancelled it.",
    "event_cancelled": "The event has been cancelled.",
    "system_error": "Something went wrong on our side, and we are sorry for that.",
}
"""Why an order ended, as one would say it to its buyer; it follows "Your order was cancelled."."""


RIGHTS: Mapping[str, str] = {
    "manage": "set up events, tiers and webhooks",
    "sell": "see orders, decide on them and refund them",
    "scan": "work at the door",
}
"""What a member of a team may do."""
WHY_DISABLED: Mapping[str, str] = {
    "gone": "it answered 410, which means that it is gone for good.",
    "failing": "for five days nothing that we sent there arrived.",
    "key_lost": "its secret is not valid any more. Rotate it, and put the new one into your system.",
}
"""Why an endpoint was disabled by us; it follows "The reason:"."""


@dataclass(frozen=True, slots=True)
class RenderedLetter:
    """A mail as its reader gets it."""

    subject: str
    html: str
    text: str


class Letters:
    """Renders letters; a template that misses a value raises instead of leaving a gap."""

    def __init__(self, product: str = "Ticket Vendor") -> None:
        self._environment = _environment()
        self._product = product

    def render(self, letter: Letter) -> RenderedLetter:
        """Render a letter; raise `PermanentVendorError` if its template or one of its values is missing."""
        values = {"product": self._product, "recipient_name": letter.recipient_name, **letter.context}
        try:
            text = self._environment.get_template(f"{letter.template}.txt")
            subject = "".join(text.blocks["subject"](text.new_context(values)))
            html = self._environment.get_template(f"{letter.template}.html").render(values, subject=subject.strip())
            # A line break in an event's title must not end up in a header.
            return RenderedLetter(" ".join(subject.split()), html, text.render(values))
        except (TemplateError, ZoneInfoNotFoundError, ValueError, TypeError, LookupError) as error:
            raise PermanentVendorError(
                f"the letter {letter.template!r} cannot be written: {error}", code="unwritable"
            ) from error


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("adapters", "mail_templates"),
        autoescape=select_autoescape(["html"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"money": money, "moment": moment, "paragraphs": paragraphs, "reason": REASONS.__getitem__}
    environment.filters |= {"right": RIGHTS.__getitem__, "why_disabled": WHY_DISABLED.__getitem__}
    return environment


def money(amount: int, currency: str) -> str:
    """Write minor units of a currency as people read them: `1,234.50 EUR`, `1,200 JPY`, `3.250 KWD`."""
    digits = exponent(currency.upper())
    whole, rest = divmod(abs(amount), 10**digits)
    fraction = f".{rest:0{digits}}" if digits else ""
    # A no-break space keeps the currency beside its number on a narrow screen.
    return f"{'-' if amount < 0 else ''}{whole:,}{fraction}\N{NO-BREAK SPACE}{currency.upper()}"


def moment(value: datetime | str, timezone: str = "UTC") -> str:
    """Write a time on the clock of its place: `Saturday 14 March 2026, 19:30 CET`; naive times are refused."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    if at.tzinfo is None:
        raise ValueError("a time without a time zone")
    local = at.astimezone(UTC if timezone == "UTC" else ZoneInfo(timezone))
    return f"{local:%A} {local.day} {local:%B %Y}, {local:%H:%M} {_zone_name(local)}"


def paragraphs(text: str) -> list[list[str]]:
    """Take a text apart into paragraphs, which blank lines divide, and those into lines."""
    return [part.splitlines() for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())]


def _zone_name(local: datetime) -> str:
    name = local.tzname() or "UTC"
    # Zones without letters of their own call themselves "+04": say what the number means.
    return f"UTC{name}" if name[0] in "+-" else name
