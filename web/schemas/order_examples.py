"""A purchase and an order as the documentation shows them."""

from typing import Any

from web.addresses import API
from web.schemas.fairness import HEAD, RECEIPT

EVENT_ID = "01936d2e-8f6b-7c1a-9d43-5b7f1e2a3c4d"
TIER_ID = "01936d2f-11aa-7e02-8a57-0c9d4b6e7f80"
TICKET_ID = "01936d31-0b7c-7d15-9e62-4f8a1c3b5d70"
ORDER_ID = "01936d30-52c4-7b3e-b1f9-6a8c2d4e5f01"
PURCHASE: dict[str, Any] = {
    "event_id": EVENT_ID,
    "items": [{"tier_id": TIER_ID, "quantity": 2, "attendees": [{"name": "Ada Lovelace"}, {"name": "Grace Hopper"}]}],
}
ORDER: dict[str, Any] = {
    "id": ORDER_ID,
    "number": "TV-00004711",
    "event_id": EVENT_ID,
    "event_title": "Harbour Nights",
    "status": "pending",
    "stage": "awaiting_payment",
    "reason": None,
    "payment_status": "pending",
    "source": "direct",
    "sequence": 4711,
    "code": "HARBOUR-10",
    "queue": None,
    "hold": {"expires_at": "2027-06-12T17:05:00Z"},
    "payment": {
        "provider": "stripe",
        "intent_id": "pi_3PqLmN",
        "client_secret": "pi_3PqLmN_secret_8fKd",
        "next_action": None,
        "last_error": None,
    },
    "amounts": {
        "currency": "EUR",
        "discount": 700,
        "subtotal": 6300,
        "fees": 258,
        "tax": 0,
        "total": 6558,
        "refunded": 0,
    },
    "items": [
        {
            "tier_id": TIER_ID,
            "tier_name": "Standing",
            "quantity": 2,
            "unit_price": 3500,
            "discount": 700,
            "subtotal": 6300,
            "fees": 258,
            "tax": 0,
            "receipt": RECEIPT,
            "head": HEAD,
        }
    ],
    "tickets": [],
    "timeline": [
        {"at": "2027-06-12T17:00:00Z", "kind": "accepted", "data": {}},
        {"at": "2027-06-12T17:00:00.031Z", "kind": "held", "data": {}},
        {"at": "2027-06-12T17:00:00.214Z", "kind": "payment_opened", "data": {}},
    ],
    "created_at": "2027-06-12T17:00:00Z",
    "server_time": "2027-06-12T17:00:01Z",
    "links": {
        "self": f"{API}/orders/{ORDER_ID}",
        "event": f"{API}/events/{EVENT_ID}",
        "confirm": f"{API}/orders/{ORDER_ID}/confirm",
        "cancel": f"{API}/orders/{ORDER_ID}/cancel",
        "refund": None,
    },
}
