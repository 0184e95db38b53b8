"""One buyer: orders, pays in every way there is, gives up, comes back, asks again when no answer came.

What it does comes from its own chance, which the seed makes; what it was told goes into the book.
"""

import threading
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any
from uuid import UUID

from tools.faults.book import ACCEPTED, CONFLICT, Book, Request
from tools.faults.client import BUSY, Answer, Client, LostError
from tools.faults.market import Sale, Tier

Order = dict[str, Any]

PATIENCE_SECONDS = 60.0
"""How long a request is sent again when no answer comes."""
FAREWELL_SECONDS = 20.0
"""The same, once the load is to end: nobody leaves while a request has no answer."""
IMPATIENT_SECONDS = 0.03
DECIDED_SECONDS = 40.0
ENDED = {"complete", "closed"}
SERVER_ERROR = 500

CARD = "pm_card_visa"
DECLINED = ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds", "pm_card_chargeDeclinedExpiredCard")
CONSENTS = ("pm_card_threeDSecure2Required", "pm_card_threeDSecureRequiredChargeDeclined")
MANNERS = {
    "pay": 8,
    "declined_first": 2,
    "consent": 2,
    "at_stripe": 2,
    "late": 3,
    "abandon": 3,
    "cancel": 2,
    "hurry": 1,
}
"""What a buyer does about an order that is to be paid, and how likely that is."""
CHOICES = {"plenty": 6, "scarce": 5, "asked": 1, "both": 2, "rush": 3}


class Buyer:
    """Somebody with a session; belongs to one thread."""

    def __init__(
        self, number: int, email: str, clients: tuple[Client, Client], stripe_key: str, stopping: threading.Event
    ) -> None:
        self.number = number
        self.email = email
        self.client, self._stripe = clients
        self._stripe.headers["Authorization"] = f"Bearer {stripe_key}"
        self._stopping = stopping

    def shop(self, sale: Sale, book: Book, random: Random) -> None:
        """Buy something, and see it through as far as this buyer would."""
        self._book, self._random = book, random
        choice = _weighed(random, CHOICES)
        if choice == "rush":
            for _ in range(random.randint(2, 6)):
                self._order(sale.tiers["rush"])
            return
        tiers = [sale.tiers["plenty"], sale.tiers["scarce"]] if choice == "both" else [sale.tiers[choice]]
        request = self._order(*tiers)
        if request.status == ACCEPTED:
            self._see_through(request.order_id)
        elif (request.status, request.code) == (CONFLICT, "sold-out"):
            self._stand_in_line(sale.tiers["scarce"])

    def _order(self, *tiers: Tier) -> Request:
        """Submit a purchase until it has its answer: the same key each time."""
        key = str(UUID(int=self._random.getrandbits(128), version=4))
        request = Request(self.email, tuple(tier.id for tier in tiers), key, time.monotonic())
        self._book.open(request)
        quantity = 1 if tiers[0].name == "rush" else self._random.choice((1, 1, 1, 2, 3))
        body = {"event_id": tiers[0].event_id, "items": [{"tier_id": tier.id, "quantity": quantity} for tier in tiers]}

        def send(timeout: float | None) -> Answer:
            request.sent += 1
            path, named = "/api/v1/orders", {"Idempotency_Key": key}
            return self.client.send("POST", path, body, named, **({"timeout": timeout} if timeout else {}))

        if answer := self._insist(send):
            request.answered, request.status, request.code = time.monotonic(), answer.status, answer.code
            if answer.status == ACCEPTED:
                request.order_id, request.sequence = answer.body["id"], answer.body["sequence"]
        if request.status == ACCEPTED and self._random.random() < 0.1:  # noqa: PLR2004 a tenth of them asks twice
            self._ask_twice(request, body)
        return request

    def _ask_twice(self, request: Request, body: Mapping[str, Any]) -> None:
        answer = self._insist(lambda _: self.client.post("/api/v1/orders", body, Idempotency_Key=request.key))
        if answer is None:
            return
        self._book.count("repeated")
        if answer.status != ACCEPTED or answer.body["id"] != request.order_id:
            self._book.complain(f"key {request.key} was answered {answer.status} instead of {request.order_id}")

    def _insist(self, send: Callable[[float | None], Answer]) -> Answer | None:
        """Send until an answer comes, or for as long as anybody would; sometimes hang up long before it can."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        timeout = IMPATIENT_SECONDS if self._random.random() < 0.1 else None  # noqa: PLR2004 a tenth of them
        while True:
            try:
                answer = send(timeout)
                if answer.status != BUSY:
                    break
                self._book.count("busy")
            except LostError:
                self._book.count("lost")
            timeout = None
            if self._stopping.is_set():
                deadline = min(deadline, time.monotonic() + FAREWELL_SECONDS)
            if time.monotonic() > deadline:
                self._book.count("unanswered")
                return None
            time.sleep(self._random.uniform(0.1, 0.5))
        if answer.status >= SERVER_ERROR:
            self._book.complain(f"an answer of {answer.status}: {answer.body}")
        return answer

    def _act(self, path: str, body: Mapping[str, Any] | None = None) -> Answer | None:
        key = str(UUID(int=self._random.getrandbits(128), version=4))
        return self._insist(lambda _: self.client.post(path, body, Idempotency_Key=key))

    def _until(self, order_id: str, is_there: Callable[[Order], bool], seconds: float = DECIDED_SECONDS) -> Order:
        """Poll until the order is there, has ended, or the buyer has better things to do."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self._insist(lambda _: self.client.get(f"/api/v1/orders/{order_id}"))
            order: Order = answer.body if answer and answer.status == 200 else {"stage": "unknown"}  # noqa: PLR2004
            leaves = self._stopping.is_set() or time.monotonic() > deadline
            if is_there(order) or order["stage"] in ENDED or leaves:
                return order
            time.sleep(self._random.uniform(0.2, 0.5))

    def _see_through(self, order_id: str) -> None:
        order = self._until(order_id, lambda now: now["stage"] in {"awaiting_payment", "awaiting_approval"})
        if order["stage"] == "awaiting_approval":
            self._book.asking.put(order_id)
            order = self._until(order_id, lambda now: now["stage"] == "awaiting_payment")
        if order["stage"] != "awaiting_payment":
            return
        manner = _weighed(self._random, MANNERS)
        self._book.count(manner)
        getattr(self, f"_{manner}")(order)
        order = self._until(order_id, lambda _: False, 25)
        if order["stage"] == "complete" and self._random.random() < 0.3:  # noqa: PLR2004 many come to regret it
            self._refund(order)

    def _pay(self, order: Order, card: str = CARD) -> None:
        self._act(f"/api/v1/orders/{order['id']}/confirm", {"payment_method": card})

    def _declined_first(self, order: Order) -> None:
        self._pay(order, self._random.choice(DECLINED))
        self._until(order["id"], lambda now: bool((now.get("payment") or {}).get("last_error")), 8)
        self._pay(order)

    def _consent(self, order: Order) -> None:
        self._pay(order, self._random.choice(CONSENTS))
        asked = self._until(order["id"], lambda now: bool((now.get("payment") or {}).get("next_action")), 8)
        if (asked.get("payment") or {}).get("next_action"):
            outcome = self._random.choice(("succeed", "succeed", "fail"))
            path = f"/_standin/payment_intents/{order['payment']['intent_id']}/authenticate"
            self._ask_stripe(lambda: self._stripe.post(path, {"outcome": outcome}))

    def _at_stripe(self, order: Order) -> None:
        """Pay with Stripe's own library, past us."""
        intent = order["payment"]["intent_id"]
        self._ask_stripe(lambda: self._stripe.post_form(f"/v1/payment_intents/{intent}/confirm", payment_method=CARD))

    def _late(self, order: Order) -> None:
        """Pay at Stripe about when the hold runs out, or later."""
        self._until(order["id"], lambda now: now["stage"] not in {"awaiting_payment", "payment_delayed"}, 30)
        time.sleep(self._random.choice((0, 0, 1, 6)) * self._random.random())
        self._at_stripe(order)

    def _abandon(self, order: Order) -> None:
        """Do nothing: the hold runs out."""

    def _cancel(self, order: Order) -> None:
        self._act(f"/api/v1/orders/{order['id']}/cancel")

    def _hurry(self, order: Order) -> None:
        """Pay here and at Stripe at once, and cancel while that is under way."""
        self._pay(order)
        self._at_stripe(order)
        self._cancel(order)

    def _refund(self, order: Order) -> None:
        tickets = [ticket["id"] for ticket in order["tickets"]]
        part = {"tickets": tickets[:1]} if len(tickets) > 1 and self._random.random() < 0.5 else {}  # noqa: PLR2004
        self._book.count("refund asked")
        self._act(f"/api/v1/orders/{order['id']}/refund", {"reason": "We cannot come.", **part})

    def _stand_in_line(self, tier: Tier) -> None:
        body = {"tier_id": tier.id, "quantity": 1}
        answer = self._act(f"/api/v1/events/{tier.event_id}/waitlist", body)
        if answer is None or answer.status != 201:  # noqa: PLR2004 created
            return
        self._book.count("waited in line")
        here, deadline = f"/api/v1/waitlist/{answer.body['id']}", time.monotonic() + self._random.uniform(5, 20)
        while time.monotonic() < deadline and not self._stopping.is_set():
            entry = self._insist(lambda _: self.client.get(here))
            if entry and entry.body and entry.body["status"] == "offered":
                self._answer_offer(here, entry.body["offer"]["order_id"])
                break
            time.sleep(self._random.uniform(0.3, 0.8))
        self._insist(lambda _: self.client.send("DELETE", here))

    def _answer_offer(self, entry: str, order_id: str) -> None:
        answer = self._random.choice(("accept", "accept", "accept", "decline", ""))
        self._book.count(f"offer: {answer or 'ignored'}")
        if answer and self._act(f"{entry}/{answer}") and answer == "accept":
            self._see_through(order_id)

    def _ask_stripe(self, ask: Callable[[], Answer]) -> None:
        """Ask Stripe once: its troubles are the client's library's business."""
        try:
            ask()
        except LostError:
            self._book.count("lost at stripe")


def _weighed(random: Random, choices: Mapping[str, int]) -> str:
    return random.choices(list(choices), list(choices.values()))[0]
