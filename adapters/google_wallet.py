"""Links that save a ticket to Google Wallet (port `PassLinker`): a signed JWT that holds the pass and its class.

The shapes are Google's ("Event tickets" and "JWT" in the Wallet API reference). Nothing is asked of Google: whoever
opens the link brings both objects there. Google calls tokens of up to 1,800 characters safe for every browser, so they
say little; an ordinary one has about that many (docs/adr/0027).
"""

from datetime import datetime
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from domain.ports import EventFacts, TicketFacts

PRODUCT = "Ticket Vendor"
SAVE = "https://pay.google.com/gp/v/save/"


class GoogleWallet:
    """Signs with the key of a service account that the issuer let in; `account` is its key file, JSON."""

    def __init__(self, issuer_id: str, account: bytes) -> None:
        try:
            fields = orjson.loads(account)
            self._email = str(fields["client_email"])
            key = load_pem_private_key(str(fields["private_key"]).encode(), password=None)
        except (ValueError, KeyError, TypeError):
            raise ValueError("GOOGLE_WALLET_ACCOUNT is not the key file of a service account") from None
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("GOOGLE_WALLET_ACCOUNT has no RSA key")  # noqa: TRY004 it is the setting that is wrong
        self._issuer_id = issuer_id
        self._key = key

    def link(self, ticket: TicketFacts, now: datetime) -> str:
        """Return the address that saves the ticket for whoever opens it."""
        class_id = f"{self._issuer_id}.{ticket.event.id.hex}"
        claims = {
            "iss": self._email,
            "aud": "google",
            "typ": "savetowallet",
            "iat": int(now.timestamp()),
            "payload": {
                "eventTicketClasses": [_class(class_id, ticket.event)],
                "eventTicketObjects": [self._object(class_id, ticket)],
            },
        }
        return SAVE + jwt.encode(claims, self._key, algorithm="RS256")

    def _object(self, class_id: str, ticket: TicketFacts) -> dict[str, Any]:
        return {
            # With the code: a link to an object that Google knows shows that one, and a new holder needs a new one.
            "id": f"{self._issuer_id}.{ticket.id.hex}.{sha256(ticket.code.encode()).hexdigest()[:12]}",
            "classId": class_id,
            "state": "ACTIVE",
            "ticketHolderName": ticket.attendee,
            "ticketType": _said(ticket.tier),
            "barcode": {"type": "QR_CODE", "value": ticket.qr_payload, "alternateText": ticket.code},
        }


def _class(class_id: str, event: EventFacts) -> dict[str, Any]:
    zone = ZoneInfo(event.timezone)
    times = {"start": event.starts_at, "doorsOpen": event.doors_at}
    described: dict[str, Any] = {
        "id": class_id,
        "issuerName": PRODUCT,
        "reviewStatus": "UNDER_REVIEW",
        "eventName": _said(event.title),
        "dateTime": {
            name: at.astimezone(zone).isoformat(timespec="minutes") for name, at in times.items() if at is not None
        },
    }
    if event.venue and event.address:
        # Google takes a venue with both, or none.
        described["venue"] = {"name": _said(event.venue), "address": _said(event.address)}
    return described


def _said(words: str) -> dict[str, Any]:
    return {"defaultValue": {"language": "en", "value": words}}
