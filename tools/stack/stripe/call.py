"""One call of the API while it is being answered: who asks, when, and what may be read, kept and announced."""

from dataclasses import dataclass
from typing import Any

from tools.stack.stripe.errors import missing_resource
from tools.stack.stripe.ids import new_id
from tools.stack.stripe.objects import API_VERSION
from tools.stack.stripe.store import Store, shown
from tools.stack.stripe.webhooks import Webhooks

Body = dict[str, Any]

# Stripe writes some nouns in its own way when it cannot find them.
_NOUNS = {"payment_method": "PaymentMethod", "application_fee": "application fee"}
_PATH_PARAMS = {"payment_intent": "intent", "charge": "charge", "payment_method": "payment_method"}


@dataclass(frozen=True)
class Answer:
    """What goes back when it is not simply 200."""

    status: int
    body: Body


@dataclass(frozen=True)
class Call:
    """The surroundings of one request; `identifier` is the id in its path, `account` is "" for the platform."""

    store: Store
    webhooks: Webhooks
    now: int
    base_url: str
    account: str = ""
    request_id: str | None = None
    idempotency_key: str | None = None
    identifier: str = ""

    def find(self, kind: str, identifier: str | None = None, param: str | None = None) -> Body:
        """Return an object: the one of the path, or one that a parameter names; refuse if there is none."""
        wanted = identifier if identifier is not None else self.identifier
        body = self.store.get(self.account, wanted, kind)
        if body is None:
            noun = _NOUNS.get(kind, kind)
            raise missing_resource(noun, wanted, param or _PATH_PARAMS.get(kind, "id"), named=param is not None)
        return body

    def save(self, body: Body) -> None:
        """Keep an object, new or changed."""
        self.store.put(self.account, body)

    def emit(self, event_type: str, subject: Body, previous: Body | None = None) -> None:
        """Record that something happened to an object as it is now, and have the webhook told."""
        data: Body = {"object": shown(subject)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Body = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
            "type": event_type,
        }
        if self.account:
            event |= {"account": self.account, "context": self.account}
        event["pending_webhooks"] = self.webhooks.enqueue(event["id"])
        self.save(event)
