"""What is sold while things break: events with small and large tiers, made over the API by the demo's promoter."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tools.faults.client import Answer, Client, LostError

DAY = 24 * 3600
CREATED, OK = 201, 200


class MarketError(Exception):
    """Nothing could be put on sale, though nothing was broken; the message shows the answer."""


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier on sale."""

    id: str
    event_id: str
    name: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Sale:
    """One event and its tiers, by name."""

    event_id: str
    tiers: Mapping[str, Tier]


ACT: dict[str, dict[str, Any]] = {
    "plenty": {"price": 2500, "quantity": 5000},
    "scarce": {"price": 4000, "quantity": 12},
    "asked": {"price": 9000, "quantity": 200, "requires_approval": True},
    # Nothing of it ever comes back, so who was first can be told to the last ticket.
    "rush": {"price": 0, "quantity": 150},
}
PROBE: dict[str, dict[str, Any]] = {
    "free": {"price": 0, "quantity": 100_000},
    "paid": {"price": 1500, "quantity": 100_000},
}


def log_in(base_url: str, email: str, password: str) -> Client:
    """Return a client that is logged in."""
    client = Client(base_url)
    answer = _done(client.post("/api/v1/auth/login", {"email": email, "password": password}), OK)
    client.headers["Authorization"] = f"Bearer {answer.body['access_token']}"
    return client


def register(base_url: str, email: str, password: str) -> Client:
    """Return a client of somebody new, logged in."""
    client = Client(base_url)
    body = {"email": email, "password": password, "first_name": "Bo", "last_name": "Buyer"}
    _done(client.post("/api/v1/auth/register", body), CREATED)
    client.close()
    return log_in(base_url, email, password)


def open_sale(promoter: Client, tiers: Mapping[str, Mapping[str, Any]]) -> Sale:
    """Publish an event with these tiers."""
    now = time.time()
    event = {
        "title": f"Rehearsal {uuid4().hex[:8]}",
        "starts_at": _iso(now + 30 * DAY),
        "ends_at": _iso(now + 31 * DAY),
        "timezone": "Europe/Copenhagen",
        "venue_name": "Hall",
        "city": "Aarhus",
        "country": "DK",
        "capacity": 1_000_000,
        "currency": "EUR",
        "buyer_refund_hours": 1,
    }
    event_id = _done(promoter.post("/api/v1/events", event), CREATED).body["id"]
    made = {}
    for name, details in tiers.items():
        answer = promoter.post(f"/api/v1/events/{event_id}/tiers", {"name": name, "max_per_order": 10, **details})
        made[name] = Tier(_done(answer, CREATED).body["id"], event_id, name, details["quantity"])
    _done(promoter.post(f"/api/v1/events/{event_id}/publish"), OK)
    return Sale(event_id, made)


def read_all(client: Client, path: str) -> list[Any]:
    """Return every item of a listing, page by page."""
    items, cursor = [], ""
    while True:
        page = _done(client.get(f"{path}?limit=100{cursor}"), OK).body
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


def _done(answer: Answer, status: int) -> Answer:
    if answer.status != status:
        raise MarketError(f"{answer.status} instead of {status}: {answer.body}")
    return answer


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


TROUBLE = (MarketError, LostError)
