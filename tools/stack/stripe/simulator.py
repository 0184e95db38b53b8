"""The stand-in's parts, put together, and the way of one request through them."""

import hmac
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.stack.stripe import connect
from tools.stack.stripe.call import Answer, Call
from tools.stack.stripe.clock import Clock
from tools.stack.stripe.endpoints import Endpoint
from tools.stack.stripe.errors import ConnectionCutError, RefusalError, envelope
from tools.stack.stripe.expansion import expand
from tools.stack.stripe.faults import Fault, Faults
from tools.stack.stripe.idempotency import Idempotency, StoredAnswer, fingerprint
from tools.stack.stripe.ids import new_id
from tools.stack.stripe.outage import Outage
from tools.stack.stripe.store import Store, shown
from tools.stack.stripe.webhooks import Webhooks


@dataclass(frozen=True)
class Request:
    """What one request asks, with its form already decoded."""

    endpoint: Endpoint
    identifier: str
    path: str
    form: dict[str, Any]
    account: str
    key: str | None
    base_url: str


@dataclass(frozen=True)
class Reply:
    """What goes back over the wire."""

    request_id: str
    status: int
    body: str
    replayed: bool = False


class Simulator:
    """Store, webhooks, faults and keys of one stand-in."""

    def __init__(
        self,
        *,
        data: Path | None = None,
        webhook_url: str | None = None,
        webhook_secret: str = "",
        secret_key: str | None = None,
    ) -> None:
        if data:
            data.mkdir(parents=True, exist_ok=True)
        self.store = Store(data / "stripe.sqlite3" if data else None)
        self.clock = Clock(self.store)
        self.webhooks = Webhooks(self.store, webhook_url, webhook_secret, self.clock)
        self.faults = Faults()
        self.outage = Outage()
        self.idempotency = Idempotency(self.store)
        self._secret_key = secret_key

    def now(self) -> int:
        """Return the stand-in's time of day in Unix seconds."""
        return int(self.clock.now())

    def close(self) -> None:
        """Stop the webhooks and close the file."""
        self.webhooks.stop()
        self.store.close()

    def check_key(self, key: str) -> None:
        """Refuse a missing, wrong or live API key."""
        if not key:
            message = "You did not provide an API key. You need to provide your API key in the Authorization header."
            raise RefusalError(401, envelope("invalid_request_error", message))
        good = (
            hmac.compare_digest(key.encode(), self._secret_key.encode())
            if self._secret_key
            else key.startswith(("sk_test_", "rk_test_"))
        )
        if not good or key.startswith(("sk_live_", "rk_live_")):
            message = f"Invalid API Key provided: {key[:8]}{'*' * 8}"
            raise RefusalError(401, envelope("invalid_request_error", message))

    def call(self, account: str, base_url: str, identifier: str = "") -> Call:
        """Return the surroundings for something that no request with a key asked for."""
        return Call(self.store, self.webhooks, self.now(), base_url, account, identifier=identifier)

    def reply(self, request: Request) -> Reply:
        """Answer a request as Stripe would, or as an outage or a fault wants it."""
        self.outage.strike()
        if request.account:
            connect.check_account(request.account)
        if request.key is None or request.endpoint.method != "POST":
            return self._execute(request, None)
        asked = fingerprint(request.endpoint.method, request.path, request.form)
        with self.idempotency.hold(request.account, request.key):
            stored = self.idempotency.recall(request.account, request.key, asked, self.now())
            if stored:
                return Reply(stored.request_id, stored.status, stored.body, replayed=True)
            return self._execute(request, asked)

    def _execute(self, request: Request, asked: str | None) -> Reply:
        fault = self.faults.take(request.endpoint.name)
        if fault and fault.when == "before":
            self._suffer(fault)
        reply = self._perform(request, asked, fault)
        self.webhooks.wake()
        if fault and fault.when == "after":
            self._suffer(fault)
        return reply

    def _perform(self, request: Request, asked: str | None, fault: Fault | None) -> Reply:
        request_id = new_id("req", 14)
        parameters = request.endpoint.parameters.read(request.form)
        call = Call(
            store=self.store,
            webhooks=self.webhooks,
            now=self.now(),
            base_url=request.base_url,
            account=request.account,
            request_id=request_id,
            idempotency_key=request.key,
            identifier=request.identifier,
        )
        try:
            with self.store.transaction():
                result = request.endpoint.handler(call, parameters)
                answer = result if isinstance(result, Answer) else Answer(200, result)
                if answer.status == 200:  # noqa: PLR2004 only objects expand
                    expand(call, answer.body, parameters.get("expand", []))
                return self._keep(call, answer, asked, fault)
        except RefusalError as refusal:
            # The effects are undone; what the endpoint answered once it had begun is still its answer.
            answer = Answer(refusal.status, refusal.body)
            return self._keep(call, answer, asked if refusal.executed else None, fault)

    def _keep(self, call: Call, answer: Answer, asked: str | None, fault: Fault | None) -> Reply:
        body = json.dumps(shown(answer.body), indent=2)
        reply = Reply(call.request_id or "", answer.status, body)
        if asked is not None and call.idempotency_key is not None:
            stored = StoredAnswer(reply.request_id, reply.status, reply.body)
            if fault and fault.kept:
                stored = StoredAnswer(reply.request_id, fault.status, json.dumps(fault.body(), indent=2))
            self.idempotency.keep(call.account, call.idempotency_key, asked, stored, call.now)
        return reply

    def _suffer(self, fault: Fault) -> None:
        time.sleep(fault.pause())
        if fault.outcome == "cut":
            raise ConnectionCutError
        if fault.outcome == "error":
            raise RefusalError(fault.status, fault.body())
