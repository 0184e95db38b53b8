"""The demo: an event with four kinds of tickets, and one purchase over HTTP that ends in a ticket and a mail.

Everything here is what any client could do. Run as `python -m tools.stack.demo WEB MAILBOX`.
"""

import base64
import io
import os
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.client import NOT_MODIFIED
from typing import Any

from tools.stack.accounts import BUYER, PROMOTER
from tools.stack.client import Answer, Client, RefusedError

WAIT_SECONDS = 30.0
TITLE = "Harbour Nights: the demo concert"
CARD = "pm_card_visa"
CODE_OFFSET, SIGNATURE_BYTES = 18, 64

TIERS = [
    {"name": "Standing", "price": 3500, "quantity": 5000, "max_per_order": 10},
    {"name": "Balcony, the last three", "price": 6000, "quantity": 3, "max_per_order": 2},
    {"name": "Friends of the house", "price": 0, "quantity": 500, "max_per_order": 4},
    {"name": "Backstage, on request", "price": 12000, "quantity": 50, "max_per_order": 2, "requires_approval": True},
]


class DemoError(Exception):
    """A step did not end as it should."""


class Story:
    """Tells each step with its time."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._step = self._began

    def tell(self, sentence: str) -> None:
        """Print what has just been done, and how long it took."""
        now = time.monotonic()
        print(f"  {1000 * (now - self._step):6.0f} ms  {sentence}", flush=True)
        self._step = now

    def end(self) -> None:
        """Print how long all of it took."""
        print(f"  {1000 * (time.monotonic() - self._began):6.0f} ms  in all", flush=True)


def main(web: str, mailbox: str) -> int:
    """Buy a ticket and check it; return 0 if everything is as it should be."""
    password = os.environ["DEMO_PASSWORD"]
    story = Story()
    try:
        promoter = Client(web).log_in(PROMOTER.email, password)
        story.tell(f"{PROMOTER.email} logged in")
        event, tier = _event_for_sale(promoter, story)
        buyer = Client(web).log_in(BUYER.email, password)
        story.tell(f"{BUYER.email} logged in")
        order = _buy(buyer, event, tier, story)
        _check_ticket(buyer, order, event, story)
        _find_mail(Client(mailbox), order, story)
    except (RefusedError, DemoError, OSError) as error:
        print(f"\nthe demo purchase failed: {error}", file=sys.stderr, flush=True)
        return 1
    story.end()
    return 0


def _event_for_sale(promoter: Client, story: Story) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the demo event and its first tier, made at the first run and found again at later ones."""
    found = promoter.get("/api/v1/events?q=Harbour+Nights").body["items"]
    event = next((event for event in found if event["title"] == TITLE and event["status"] == "published"), None)
    if event is None:
        event = _publish(promoter)
        story.tell(f"published an event with {len(TIERS)} tiers")
    else:
        story.tell("the demo event of an earlier run is still on sale")
    tiers = promoter.get(f"/api/v1/events/{event['id']}/tiers").body["items"]
    return event, next(tier for tier in tiers if tier["name"] == TIERS[0]["name"])


def _publish(promoter: Client) -> dict[str, Any]:
    starts = (datetime.now(UTC) + timedelta(days=60)).replace(hour=19, minute=0, second=0, microsecond=0)
    details = {
        "title": TITLE,
        "description": "Three bands on one stage by the water. Made by the demo; nobody has to go.",
        "category": "music",
        "tags": ["live", "outdoor"],
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(hours=4)).isoformat(),
        "timezone": "Europe/Copenhagen",
        "venue_name": "The Old Pier",
        "city": "Aarhus",
        "country": "DK",
        "capacity": 6000,
        "currency": "EUR",
    }
    event = promoter.post("/api/v1/events", details).body
    for tier in TIERS:
        promoter.post(f"/api/v1/events/{event['id']}/tiers", tier)
    published: dict[str, Any] = promoter.post(f"/api/v1/events/{event['id']}/publish").body
    return published


def _buy(buyer: Client, event: dict[str, Any], tier: dict[str, Any], story: Story) -> dict[str, Any]:
    """Order, pay and wait; return the complete order."""
    request = {"event_id": event["id"], "items": [{"tier_id": tier["id"], "quantity": 1}]}
    answer = buyer.post("/api/v1/orders", request, Idempotency_Key=str(uuid.uuid4()))
    order = answer.body
    story.tell(f"POST /orders: {answer.status}, order {order['number']} accepted with number {order['sequence']}")
    answer = _poll(buyer, answer, lambda now: now["stage"] != "queued")
    story.tell("allocated: the ticket is held for this order")
    answer = _poll(buyer, answer, lambda now: now["stage"] == "awaiting_payment")
    amounts = answer.body["amounts"]
    story.tell(f"Stripe (stand-in) opened a payment intent over {amounts['total'] / 100:.2f} {amounts['currency']}")
    answer = buyer.post(f"/api/v1/orders/{order['id']}/confirm", {"payment_method": CARD})
    story.tell(f"POST /orders/…/confirm with {CARD}: taken")
    answer = _poll(buyer, answer, lambda now: now["status"] == "confirmed")
    story.tell("paid: the webhook settled the order")
    complete: dict[str, Any] = _poll(buyer, answer, lambda now: now["stage"] == "complete").body
    story.tell(f"complete with {len(complete['tickets'])} ticket")
    return complete


def _poll(buyer: Client, answer: Answer, is_there: Callable[[dict[str, Any]], bool]) -> Answer:
    """Return the order once it is where it should be; raise `DemoError` if it ends elsewhere or takes too long."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_there(order := answer.body):
        if order["status"] in {"cancelled", "refunded"} or time.monotonic() > deadline:
            raise DemoError(f"the order is {order['status']}, stage {order['stage']}, reason {order['reason']}")
        # The tag tells what was seen: else the answer would wait for the move after one made between two polls.
        seen = answer.headers["etag"]
        newer = buyer.get(f"/api/v1/orders/{order['id']}", Prefer="wait=5", If_None_Match=seen)
        answer = answer if newer.status == NOT_MODIFIED else newer
    return answer


def _check_ticket(buyer: Client, order: dict[str, Any], event: dict[str, Any], story: Story) -> None:
    """Read the QR picture with an independent decoder, and check its signature with nothing but the public key."""
    import zxingcpp  # noqa: PLC0415 heavy, and needed last
    from PIL import Image  # noqa: PLC0415

    ticket = buyer.get(f"/api/v1/tickets/{order['tickets'][0]['id']}").body
    picture = buyer.get(f"/api/v1/tickets/{ticket['id']}/qr.png").content
    found = zxingcpp.read_barcodes(
        Image.open(io.BytesIO(picture)), formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
    )
    if not found:
        raise DemoError("the decoder found no QR code in the picture")
    story.tell(f"the ticket's QR code, {len(picture)} bytes of PNG, was read by zxing-cpp")
    keys = buyer.get(f"/api/v1/events/{event['id']}/ticket-keys").body
    code = _verified_code(found[0].text, {key["kid"]: key["x"] for key in keys["keys"]})
    if code != ticket["code"]:
        raise DemoError(f"the QR code says {code}, the ticket {ticket['code']}")
    story.tell("its signature is verified by the event's public key, and it names this ticket")


def _verified_code(text: str, keys: dict[str, str]) -> str:
    """Return the ticket's code from a QR text, laid out as adapters/ticket_signer.py documents it."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 heavy, and needed last
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    head, _, encoded = text.rpartition(".")
    body = _decode(encoded)
    key = Ed25519PublicKey.from_public_bytes(_decode(keys[head.split(".")[1]]))
    try:
        key.verify(body[-SIGNATURE_BYTES:], f"{head}.".encode() + body[:-SIGNATURE_BYTES])
    except InvalidSignature:
        raise DemoError("the ticket's signature is wrong") from None
    return body[CODE_OFFSET:-SIGNATURE_BYTES].decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _find_mail(mailbox: Client, order: dict[str, Any], story: Story) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        mails = mailbox.get(f"/api/messages?to={BUYER.email}").body
        mail = next((mail for mail in mails if order["number"] in f"{mail['subject']}{mail['text']}"), None)
        if mail is not None:
            story.tell(f"in the mailbox (SendGrid stand-in): {mail['subject']!r}")
            return
        if time.monotonic() > deadline:
            raise DemoError(f"no mail about order {order['number']} came within {WAIT_SECONDS:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
