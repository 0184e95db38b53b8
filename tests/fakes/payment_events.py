"""Events of payments in memory: what happened, in order, and its signature on the way to us."""

import hashlib
import hmac
import json
import time

from domain.errors import ForgedEventError
from domain.ports import ProviderEvent
from tests.fakes.vendor_calls import FakeVendorCalls

TOLERANCE_SECONDS = 300


class FakePaymentEvents(FakeVendorCalls):
    """Keeps `events` in the order in which they happened; the provider forgets those that are taken out."""

    def __init__(self, webhook_secret):
        super().__init__()
        self.events = []
        self._secret = webhook_secret

    def add_event(self, event_type, subject, *, account=None, created=None):
        """Let something have happened to an object, on a connected account where one is named."""
        body = {
            "id": f"evt_fake{next(self._numbers)}",
            "object": "event",
            "type": event_type,
            "created": int(time.time() if created is None else created),
            "data": {"object": subject},
        }
        if account:
            body["account"] = account
        event = ProviderEvent(body["id"], event_type, body, account)
        self.events.append(event)
        return event

    def sign(self, payload, timestamp=None):
        """Return a signature header as the provider would make it."""
        moment = int(time.time()) if timestamp is None else timestamp
        mac = hmac.new(self._secret.encode(), f"{moment}.".encode() + payload, hashlib.sha256)
        return f"t={moment},v1={mac.hexdigest()}"

    def list_events(self, after, since, limit):
        def find():
            ours = [event for event in self.events if event.account is None]
            ids = [event.id for event in ours]
            if after in ids:
                return ours[ids.index(after) + 1 :][:limit]
            return [event for event in ours if event.payload["created"] >= int(since.timestamp())][:limit]

        return self._once("list_events", None, None, find)

    def read_event(self, payload, signature):
        parts = dict(part.partition("=")[::2] for part in signature.split(","))
        timestamp = int(parts["t"]) if parts.get("t", "").isdecimal() else 0
        expected = self.sign(payload, timestamp).partition("v1=")[2]
        if timestamp < time.time() - TOLERANCE_SECONDS or not hmac.compare_digest(parts.get("v1", ""), expected):
            raise ForgedEventError("The webhook's signature is wrong or stale.")
        try:
            body = json.loads(payload)
        except ValueError:
            raise ForgedEventError("The webhook's body is no event.") from None
        if not isinstance(body, dict) or body.get("object") != "event":
            raise ForgedEventError("The webhook's body is no event.")
        return ProviderEvent(body["id"], body["type"], body, body.get("account"))
