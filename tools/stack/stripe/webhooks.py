"""Webhooks: every event goes, signed, to one address on the loopback, in the order of creation.

A delivery that does not get a 2xx is repeated with backoff, quickly first, for three days; a restart of the
stand-in forgets none. How deliveries can be made to go wrong stands in `Manners`.
"""

import hashlib
import hmac
import http.client
import ipaddress
import json
import math
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tools.stack.stripe.clock import Clock
from tools.stack.stripe.store import Store, shown

TIMEOUT_SECONDS = 10
BACKOFF_SECONDS = (0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
GIVE_UP_SECONDS = 3 * 24 * 3600
SHORTEST_WINDOW_SECONDS = 0.5

# First tries come first and keep the order of creation; repeated ones never hold them up.
_OLDEST_DUE = (
    "SELECT deliveries.*, objects.body FROM deliveries JOIN objects ON objects.id = event_id "
    "WHERE state = 'pending' AND next_at <= ? ORDER BY attempts, deliveries.id LIMIT 1"
)
_NEWEST_DUE = _OLDEST_DUE.replace("deliveries.id LIMIT", "deliveries.id DESC LIMIT")
_COUNT_PENDING = (
    "UPDATE objects SET body = json_set(body, '$.pending_webhooks', "
    "(SELECT count(*) FROM deliveries WHERE event_id = objects.id AND state = 'pending')) WHERE id = ?"
)


@dataclass(frozen=True)
class Manners:
    """How webhooks behave: sent or not, how often each, how late, in reverse, how many lost."""

    deliver: bool = True
    copies: int = 1
    delay_seconds: float = 0
    newest_first: bool = False
    drop: int = 0


def signature(secret: str, payload: bytes, timestamp: int) -> str:
    """Return a `Stripe-Signature` header over the raw body (docs.stripe.com/webhooks/signature)."""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + payload, hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()}"


def checked_url(url: str) -> str:
    """Return the address, or raise ValueError when it is not plain HTTP on the loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    local = host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
    if parts.scheme != "http" or not local:
        raise ValueError(f"webhooks go to http addresses on this machine only, not to {url}")
    return url


class Webhooks:
    """The queue of deliveries and the thread that works it off."""

    def __init__(self, store: Store, url: str | None, secret: str, clock: Clock) -> None:
        self.url = checked_url(url) if url else None
        self.manners = Manners()
        self._store = store
        self._secret = secret
        self._clock = clock
        self._wakened = threading.Condition()
        self._stopped = False
        self._news = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start delivering, with what an earlier run left."""
        if self.url:
            self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop delivering; what waits stays in the store."""
        self._stopped = True
        self.wake()
        if self._thread:
            self._thread.join(TIMEOUT_SECONDS + 1)

    def wake(self) -> None:
        """Tell the thread that something new may be due; call it after the commit."""
        with self._wakened:
            self._news += 1
            self._wakened.notify_all()

    def behave(self, **changes: Any) -> Manners:
        """Change the manners from now on, and return them."""
        self.manners = replace(self.manners, **changes)
        return self.manners

    def enqueue(self, event_id: str) -> int:
        """Queue an event as the manners say, inside the caller's transaction; return how often it will go out."""
        manners, now = self.manners, self._clock.now()
        if not self.url:
            return 0
        if manners.drop:
            self.behave(drop=manners.drop - 1)
        if not manners.deliver or manners.drop:
            self._insert(event_id, "lost", now)
            return 0
        due = now + manners.delay_seconds
        if manners.newest_first:
            # All of one window fall due together, so that there is something to turn round.
            window = max(manners.delay_seconds, SHORTEST_WINDOW_SECONDS)
            due = math.ceil(due / window) * window
        for _ in range(manners.copies):
            self._insert(event_id, "pending", due)
        return manners.copies

    def resend(self, event_id: str) -> None:
        """Queue an event once more at once, whatever became of it before."""
        self._insert(event_id, "pending", self._clock.now())
        self.wake()

    def state(self) -> dict[str, Any]:
        """Return the address, the manners and the number of deliveries in each state."""
        rows = self._store.execute("SELECT state, count(*) AS number FROM deliveries GROUP BY state")
        return {
            "url": self.url,
            "manners": asdict(self.manners),
            "deliveries": {row["state"]: row["number"] for row in rows},
        }

    def _insert(self, event_id: str, state: str, due: float) -> None:
        self._store.execute(
            "INSERT INTO deliveries (event_id, state, next_at, created) VALUES (?, ?, ?, ?)",
            (event_id, state, due, self._clock.now()),
        )

    def _run(self) -> None:
        seen = -1
        while not self._stopped:
            pause = self._seconds_until_next()
            with self._wakened:
                if seen == self._news:
                    self._wakened.wait(pause)
                seen = self._news
            while not self._stopped and self._deliver_next():
                pass

    def _seconds_until_next(self) -> float:
        rows = self._store.execute("SELECT min(next_at) AS due FROM deliveries WHERE state = 'pending'")
        due = rows[0]["due"]
        return 3600.0 if due is None else max(0.0, due - self._clock.now())

    def _deliver_next(self) -> bool:
        rows = self._store.execute(_NEWEST_DUE if self.manners.newest_first else _OLDEST_DUE, (self._clock.now(),))
        if not rows:
            return False
        delivery = rows[0]
        state, outcome = self._post(json.loads(delivery["body"]))
        attempts = delivery["attempts"] + 1
        pause = BACKOFF_SECONDS[min(attempts, len(BACKOFF_SECONDS)) - 1]
        if state == "pending" and self._clock.now() + pause - delivery["created"] > GIVE_UP_SECONDS:
            state = "failed"
        with self._store.transaction():
            self._store.execute(
                "UPDATE deliveries SET state = ?, attempts = ?, next_at = ?, outcome = ? WHERE id = ?",
                (state, attempts, self._clock.now() + pause, outcome, delivery["id"]),
            )
            self._store.execute(_COUNT_PENDING, (delivery["event_id"],))
        return True

    def _post(self, event: dict[str, Any]) -> tuple[str, str]:
        payload = json.dumps(shown(event), indent=2).encode()
        parts = urlsplit(self.url or "")
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (stand-in; +https://docs.stripe.com/webhooks)",
            "Stripe-Signature": signature(self._secret, payload, int(time.time())),
        }
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        try:
            target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            connection.request("POST", target, payload, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return "pending", type(error).__name__
        finally:
            connection.close()
        return ("delivered" if 200 <= status < 300 else "pending"), f"HTTP {status}"  # noqa: PLR2004 any 2xx


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
