"""What the clients were told, and what they did: the other side of every promise, kept where no fault strikes."""

import threading
from collections import Counter
from dataclasses import dataclass
from queue import SimpleQueue

ACCEPTED, CONFLICT = 202, 409


@dataclass(slots=True)
class Request:
    """One purchase as its client knows it, however often it had to be sent. Times are this process's own."""

    email: str
    tier_ids: tuple[str, ...]
    key: str
    began: float
    sent: int = 0
    answered: float = 0.0
    status: int = 0
    """0 while no answer has come."""
    code: str = ""
    order_id: str = ""
    sequence: int = 0


class Book:
    """Everything that was asked and answered during one act."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        self.acts: Counter[str] = Counter()
        self.wrongs: list[str] = []
        """Answers that no fault excuses."""
        self.asking: SimpleQueue[str] = SimpleQueue()
        """The orders whose buyers wait for the promoter's approval."""

    def open(self, request: Request) -> Request:
        """Note a purchase before it is sent."""
        with self._lock:
            self.requests.append(request)
        return request

    def count(self, act: str) -> None:
        """Count something that a buyer did."""
        with self._lock:
            self.acts[act] += 1

    def complain(self, wrong: str) -> None:
        """Note an answer that nobody should ever get."""
        with self._lock:
            self.wrongs.append(wrong)

    @property
    def accepted(self) -> list[Request]:
        """The purchases that were answered with 202."""
        return [request for request in self.requests if request.status == ACCEPTED]
