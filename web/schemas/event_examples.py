"""An event as the documentation shows it, and what its promoter says about it."""

from typing import Any

from web.addresses import API

EVENT_DETAILS: dict[str, Any] = {
    "title": "Jazz on the Harbour",
    "description": "Four bands, one evening, open air.",
    "category": "music",
    "tags": ["jazz", "open air"],
    "starts_at": "2027-06-05T17:00:00Z",
    "ends_at": "2027-06-05T21:00:00Z",
    "doors_at": "2027-06-05T16:00:00Z",
    "timezone": "Europe/Copenhagen",
    "venue_name": "Refshaleøen",
    "address_line1": "Refshalevej 171",
    "address_line2": None,
    "city": "København",
    "region": None,
    "postal_code": "1432",
    "country": "DK",
    "latitude": 55.6927,
    "longitude": 12.6146,
    "image_url": "https://example.com/harbour.jpg",
    "is_private": False,
    "is_featured": False,
    "capacity": 2000,
    "currency": "DKK",
    "absorbs_fees": False,
    "tax_rate_bps": 2500,
    "offer_seconds": 1800,
    "buyer_refund_hours": 48,
    "transfers_allowed": True,
    "transfer_until_hours": 24,
    "refund_granted_until": None,
    "reminder_hours": 24,
    "skips_large_groups": True,
}
_HERE = f"{API}/events/0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d"
EVENT: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "slug": "jazz-on-the-harbour",
    "status": "published",
    **EVENT_DETAILS,
    "location": "Refshaleøen, København, DK",
    "promoter": {"id": "0199c2f0-1111-7c3e-9b1f-2a4c6e8f0b1d", "name": "Harbour Concerts ApS"},
    "fee_rate_bps": 250,
    "fee_fixed": 50,
    "returns_fees": True,
    "published_at": "2027-03-01T09:30:00Z",
    "cancelled_at": None,
    "created_at": "2027-02-27T12:00:00Z",
    "updated_at": "2027-03-01T09:30:00Z",
    "links": {"self": _HERE, "tiers": f"{_HERE}/tiers", "waitlist": f"{_HERE}/waitlist"},
}
