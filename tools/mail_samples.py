"""Sample data for every mail template: one evening, one reader, the longest things that are usual."""

from collections.abc import Mapping
from typing import Any

_EVENT = {
    "title": "Jazz on the Harbour: Four Bands, One Evening",
    "starts_at": "2027-06-05T17:00:00+00:00",
    "timezone": "Europe/Copenhagen",
    "venue": "Refshaleøen, Section 3",
    "location": "Refshalevej 171, 1432 København, DK",
}
_SITE = "https://tickets.example.com"
_QUERY = "token=Zk3vU9sLqTe7HxBcN0gJiwQf2mKd8RtYpAfWb1oQ6Cw"
_ORDER_LINK = f"{_SITE}/orders/0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d?{_QUERY}"
_ORDER = {"order_number": "TV-00000042", "event": _EVENT, "order_link": _ORDER_LINK}
_AMOUNTS = {"currency": "DKK", "subtotal": 79_000, "fees": 2_075, "tax": 20_269, "total": 101_344, "refunded": 50_672}
_OFFER_LINK = f"{_SITE}/waitlist/0199c2f0-9e21-7c3e-9b1f-2a4c6e8f0b1d/offer?{_QUERY}"
_TICKETS = [
    {"code": "fWb1oQ6CwzXn2mKd8RtYpA", "tier": "Standing", "attendee_name": "Ada Lovelace", "cid": "ticket-1"},
    {"code": "Zk3vU9sLqTe7HxBcN0gJiw", "tier": "Balcony", "attendee_name": None, "cid": "ticket-2"},
]
_ANNOUNCEMENT = """Dear all,

the weather will hold, but bring something warm: it gets cool by the water after ten.

Ferry 991 leaves from Nyhavn every 20 minutes. The timetable:
https://example.com/ferries/991?direction=out

Bags larger than A4 stay at the cloakroom.

See you on Saturday!"""

SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "verify_email": {"first_name": "Ada", "link": f"{_SITE}/verify-email?{_QUERY}"},
    "password_reset": {"first_name": "Ada", "link": f"{_SITE}/reset-password?{_QUERY}", "expires_minutes": 30},
    "account_erased": {},
    "order_held": _ORDER | {"amounts": _AMOUNTS, "expires_at": "2027-03-01T09:35:00+00:00"},
    "order_confirmed": _ORDER | {"amounts": _AMOUNTS, "tickets": _TICKETS},
    "order_cancelled": _ORDER | {"reason": "hold_expired"},
    "order_refunded": _ORDER | {"amounts": _AMOUNTS, "returned_tickets": 1},
    "late_payment_refunded": _ORDER | {"amounts": _AMOUNTS | {"refunded": 101_344}},
    "waitlist_offer": {
        "event": _EVENT,
        "tier": "Standing",
        "quantity": 2,
        "expires_at": "2027-03-01T10:05:00+00:00",
        "accept_link": _OFFER_LINK,
        "decline_link": _OFFER_LINK,
    },
    "event_cancelled": _ORDER | {"amounts": _AMOUNTS | {"refunded": 101_344}},
    "event_changed": {
        "event": _EVENT,
        "order_link": _ORDER_LINK,
        "changes": [
            {"what": "starts_at", "old": "2027-05-29T17:00:00+00:00", "new": "2027-06-05T17:00:00+00:00"},
            {"what": "venue_name", "old": "Skuespilhuset", "new": "Refshaleøen, Section 3"},
            {
                "what": "address",
                "old": "Sankt Annæ Plads 36, 1250 København, DK",
                "new": "Refshalevej 171, 1432 København, DK",
            },
        ],
        "is_postponed": True,
        "refund_until": "2027-05-20T22:00:00+00:00",
    },
    "reminder": {"event": _EVENT, "order_link": _ORDER_LINK, "doors_at": "2027-06-05T16:00:00+00:00"},
    "announcement": {
        "event": _EVENT,
        "headline": "Before you come on Saturday",
        "body": _ANNOUNCEMENT,
        "promoter": "Harbour Concerts ApS",
        "unsubscribe_link": f"{_SITE}/unsubscribe/0199c2f0-9e21-7c3e-9b1f-2a4c6e8f0b1d?{_QUERY}",
    },
    "order_awaiting_approval": _ORDER | {"amounts": _AMOUNTS, "expires_at": "2027-03-02T09:30:00+00:00"},
    "orders_await_approval": {"event": _EVENT, "orders": 12, "expires_at": "2027-03-02T09:30:00+00:00"},
    "transfer_offered": {
        "event": _EVENT,
        "tier": "Standing",
        "sender_name": "Ada Lovelace",
        "expires_at": "2027-06-04T17:00:00+00:00",
        "transfer_link": f"{_SITE}/transfers/0199c2f0-9e21-7c3e-9b1f-2a4c6e8f0b1d?{_QUERY}",
    },
    "transfer_accepted": {"event": _EVENT, "tier": "Standing", "recipient": "Grace Hopper"},
    "transfer_refused": {"event": _EVENT, "tier": "Standing", "recipient": "Grace Hopper", "outcome": "declined"},
    "ticket_received": {"event": _EVENT, "tickets": _TICKETS[:1], "sender_name": "Ada Lovelace"},
    "ticket_withdrawn": {
        "event": _EVENT,
        "tier": "Standing",
        "sender_name": "Ada Lovelace",
        "is_event_cancelled": True,
    },
    "team_joined": {"first_name": "Grace", "promoter": "Harbour Concerts ApS", "rights": ["scan", "sell"]},
    "webhook_disabled": {
        "first_name": "Ada",
        "url": "https://systems.harbour-concerts.example/ticketing/hooks",
        "disabled_reason": "failing",
    },
}
"""What each template is shown with, by its name; a test keeps the list whole."""
