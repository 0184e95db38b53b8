"""A sample of every letter, as the domain would write it; for tests that need real letters."""

from uuid import UUID

from domain.ports import Attachment, Letter

REFERENCE = UUID("01980000-0000-7000-8000-000000000001")
EVENT = {
    "title": "Nordic Noise <Open Air> & Friends",
    "starts_at": "2026-07-04T17:30:00+00:00",
    "timezone": "Europe/Copenhagen",
    "venue": "Harbour Stage",
    "location": "Refshalevej 167, Copenhagen",
}
AMOUNTS = {"currency": "EUR", "subtotal": 9000, "fees": 325, "tax": 466, "total": 9791, "refunded": 4500}
ORDER = {"order_number": "TV-7KQ2M9", "event": EVENT, "order_link": "https://tickets.example/orders/7KQ2M9"}
TICKETS = [
    {"code": "fWb1oQ6CwzXn2mKd8RtYpA", "tier": "Standing", "attendee_name": "Ada Lovelace", "cid": "ticket-1"},
    {"code": "Zk3vU9sLqTe7HxBcN0gJiw", "tier": "Standing", "attendee_name": None, "cid": "ticket-2"},
]
TRANSFER = {"event": EVENT, "tier": "Standing"}
CONTEXTS = {
    "verify_email": {"first_name": "Ada", "link": "https://tickets.example/verify?token=secret-1"},
    "password_reset": {
        "first_name": "Ada",
        "link": "https://tickets.example/reset?token=secret-2",
        "expires_minutes": 30,
    },
    "account_erased": {},
    "order_held": ORDER | {"amounts": AMOUNTS, "expires_at": "2026-06-01T10:05:00+00:00"},
    "order_confirmed": ORDER | {"amounts": AMOUNTS, "tickets": TICKETS},
    "order_cancelled": ORDER | {"reason": "hold_expired"},
    "order_refunded": ORDER | {"amounts": AMOUNTS, "returned_tickets": 2},
    "late_payment_refunded": ORDER | {"amounts": AMOUNTS},
    "waitlist_offer": {
        "event": EVENT,
        "tier": "Standing",
        "quantity": 2,
        "expires_at": "2026-06-01T10:30:00+00:00",
        "accept_link": "https://tickets.example/offers/1/accept?token=secret-3",
        "decline_link": "https://tickets.example/offers/1/decline?token=secret-3",
    },
    "event_cancelled": ORDER | {"amounts": AMOUNTS},
    "order_awaiting_approval": ORDER | {"amounts": AMOUNTS, "expires_at": "2026-06-01T11:00:00+00:00"},
    "orders_await_approval": {"event": EVENT, "orders": 3, "expires_at": "2026-06-01T11:00:00+00:00"},
    "transfer_offered": TRANSFER
    | {
        "sender_name": "Grace Hopper",
        "expires_at": "2026-06-08T10:00:00+00:00",
        "transfer_link": "https://tickets.example/transfers/1?token=secret-4",
    },
    "transfer_accepted": TRANSFER | {"recipient": "Grace Hopper"},
    "transfer_refused": TRANSFER | {"recipient": "Grace Hopper", "outcome": "declined"},
    "ticket_received": {"event": EVENT, "tickets": TICKETS[:1], "sender_name": "Grace Hopper"},
    "ticket_withdrawn": TRANSFER | {"sender_name": "Grace Hopper", "is_event_cancelled": True},
    "team_joined": {"first_name": "Ada", "promoter": "Harbour Concerts", "rights": ["scan", "sell"]},
    "webhook_disabled": {"first_name": "Ada", "url": "https://harbour.example/hooks", "disabled_reason": "failing"},
    "event_changed": {
        "event": EVENT,
        "order_link": ORDER["order_link"],
        "changes": [
            {"what": "starts_at", "old": "2026-06-27T17:30:00+00:00", "new": "2026-07-04T17:30:00+00:00"},
            {"what": "venue_name", "old": None, "new": "Harbour Stage"},
        ],
        "is_postponed": True,
        "refund_until": "2026-06-20T10:00:00+00:00",
    },
    "reminder": {"event": EVENT, "order_link": None, "doors_at": "2026-07-04T16:30:00+00:00"},
    "announcement": {
        "event": EVENT,
        "headline": "Bring something warm",
        "body": "It gets cool <after ten>.\nReally.\n\nFerries: https://example.com/ferries?a=1&b=2",
        "promoter": "Harbour & Sons",
        "unsubscribe_link": "https://tickets.example/unsubscribe/1?token=secret-4",
    },
}


def letter(template="order_confirmed", *, recipient="ada@example.com", attachments=(), reference=REFERENCE, **changes):
    return Letter(
        reference=reference,
        template=template,
        recipient=recipient,
        recipient_name="Ada Lovelace",
        context=CONTEXTS[template] | changes,
        attachments=attachments,
    )


def picture(content, cid="ticket-1"):
    return Attachment(filename=f"{cid}.png", media_type="image/png", content=content, content_id=cid)
