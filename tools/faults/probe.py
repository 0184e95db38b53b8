"""The probe: buyers who come just before trouble and just after it, and how long it takes until both are served."""

import threading
import time
from random import Random
from typing import Any
from uuid import UUID

from tools.faults import market
from tools.faults.buyer import CARD, ENDED
from tools.faults.client import Answer, Client, LostError
from tools.faults.market import Tier
from tools.faults.world import World

EMAIL = "probe@rehearsal.example.com"
GLANCE_SECONDS = 0.1
ACCEPTED_SECONDS = 60.0
"""An order may be caught in the trouble of a fault that struck a moment before."""
GIVE_UP = 3
"""So many times the promised seconds are waited, to tell what is late from what is lost."""


class LostProbeError(Exception):
    """Something did not move again; the message says what, and how it stands."""


class Probe:
    """One buyer with orders that were caught in trouble, and one that comes after it."""

    def __init__(self, world: World, promoter: Client, random: Random) -> None:
        self._world = world
        self._random = random
        self._client = market.register(world.url, EMAIL, world.plan.secrets.password)
        self._tiers = market.open_sale(promoter, market.PROBE).tiers
        self._caught: list[str] = []
        self._turn = threading.Lock()

    def get_caught(self) -> None:
        """Order just before trouble, and wait for nothing: the order is under way when it comes."""
        with self._turn:
            self._caught.append(self._order(self._tiers["free"], time.monotonic() + ACCEPTED_SECONDS))

    def measure(self, within: float) -> float:
        """Return the seconds from now until all orders are complete, and the last one's mail has arrived.

        Raises `LostProbeError` if that takes several times as long as it should.
        """
        began = time.monotonic()
        deadline = began + GIVE_UP * within
        number = self._buy(deadline)
        while self._caught:
            caught = self._until_ended(self._caught.pop(), deadline)
            if caught["stage"] != "complete":
                raise LostProbeError(f"an order from before it ended with {caught['reason']}: {caught['timeline']}")
        while not any(number in f"{mail['subject']}{mail['text']}" for mail in self._mails()):
            self._glance(deadline, f"the mail about order {number} has not come")
        return time.monotonic() - began

    def _buy(self, deadline: float) -> str:
        """Buy and pay until an order is complete, and return its number; one whose hold ran out is no harm."""
        while True:
            order_id = self._order(self._tiers["paid"], deadline)
            order = self._until_ended(order_id, deadline)
            if order["stage"] == "complete":
                return str(order["number"])
            if order["reason"] not in {"hold_expired", "payment_failed"}:
                raise LostProbeError(f"an order from after it ended with {order['reason']}: {order['timeline']}")

    def _until_ended(self, order_id: str, deadline: float) -> dict[str, Any]:
        order: dict[str, Any] = {}
        while order.get("stage") not in ENDED:
            if answer := self._ask("GET", f"/api/v1/orders/{order_id}"):
                order = answer.body
                if order["stage"] == "awaiting_payment" and not order["payment"]["last_error"]:
                    self._ask("POST", f"/api/v1/orders/{order_id}/confirm", {"payment_method": CARD})
            self._glance(deadline, f"order {order_id} stands at {order.get('stage')}: {order.get('timeline')}")
        return order

    def _order(self, tier: Tier, deadline: float) -> str:
        key = str(UUID(int=self._random.getrandbits(128), version=4))
        body = {"event_id": tier.event_id, "items": [{"tier_id": tier.id, "quantity": 1}]}
        while True:
            if answer := self._ask("POST", "/api/v1/orders", body, Idempotency_Key=key):
                return str(answer.body["id"])
            self._glance(deadline, "no purchase is accepted")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> Answer | None:
        """Return a good answer, or None."""
        try:
            answer = self._client.send(method, path, body, headers, timeout=5)
        except LostError:
            return None
        return answer if answer.status in {200, 202} else None

    def _mails(self) -> list[dict[str, Any]]:
        try:
            return self._world.mails(EMAIL)
        except LostError:
            return []

    def _glance(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise LostProbeError(what)
        self._world.wait(GLANCE_SECONDS)
        if self._world.ending.is_set():
            raise LostProbeError("interrupted")
