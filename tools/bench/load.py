"""The load generator's process: prepared requests over kept connections, one loop, no library in between.

It is told its job on its standard input as a line of JSON, says `ready`, waits for another line, and answers with a
line of JSON. Started by `generator.py`, in a process of its own so that its work can be told from the system's.
"""

import json
import re
import resource
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LOCATION = re.compile(rb"\r\nlocation: *(\S+)", re.IGNORECASE)
ETAG = re.compile(rb"\r\netag: *(\S+)", re.IGNORECASE)
CODE = re.compile(rb'"code": *"([a-z-]+)"')
BODILESS = {204, 304}
BUSY = 503
"""The server is full for the moment: as a good client does, the same again."""


class LoadError(Exception):
    """The load cannot be carried through; the message says what happened."""


class Connection:
    """One kept connection with at most one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self.number: int | None = None
        """The request under way."""
        self._received = b""
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connected = socket.create_connection(self._address, timeout=30)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def reconnect(self) -> None:
        """Start again on a new connection; what had come of an answer is forgotten."""
        self.socket.close()
        self._received = b""
        self.socket = self._connect()

    def send(self, number: int, request: bytes) -> None:
        """Send a whole request."""
        self.number = number
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Return the status and the bytes of a whole answer, or None while there is more to come.

        Raises `ConnectionError` if the server has closed the connection.
        """
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionResetError
        self._received += part
        head_ends = self._received.find(HEAD_END)
        if head_ends < 0:
            return None
        status = int(self._received[9:12])
        body_begins = head_ends + len(HEAD_END)
        if len(self._received) < body_begins + self._length(status, head_ends):
            return None
        answer, self._received = self._received, b""
        return status, answer

    def _length(self, status: int, head_ends: int) -> int:
        if status in BODILESS:
            return 0
        length = LENGTH.search(self._received, 0, head_ends)
        if length is None:
            raise LoadError(f"the server answered {status} without a Content-Length")
        return int(length[1])


class Load:
    """Requests in their order over some connections.

    Without `arrivals` each connection sends the next request as soon as it has its answer. With them each request has
    its second, and its time runs from there even while no connection is free: so a slow server hides nothing.
    """

    def __init__(
        self, address: tuple[str, int], requests: Sequence[bytes], connections: int, arrivals: Sequence[float] | None
    ) -> None:
        self._requests = requests
        self._arrivals = arrivals
        self._selector = selectors.DefaultSelector()
        self._idle = deque(Connection(address) for _ in range(connections))
        for connection in self._idle:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._next = 0
        self._open = len(requests)
        self.began = [0.0] * len(requests)
        self.answered = [0.0] * len(requests)
        self.answers: list[tuple[int, bytes]] = [(0, b"")] * len(requests)
        self.resent = 0

    def run(self, seconds: float) -> None:
        """Send everything and wait for every answer; raise `LoadError` if that takes longer than `seconds`."""
        starts = time.perf_counter()
        while self._open:
            self._send_due(starts)
            for key, _ in self._selector.select(self._until_next(starts)):
                self._receive(key.data)
            if time.perf_counter() - starts > seconds:
                raise LoadError(f"{self._open} of {len(self._requests)} requests had no answer after {seconds:.0f} s")
        self._selector.close()

    def _send_due(self, starts: float) -> None:
        while self._idle and self._next < len(self._requests):
            now = time.perf_counter()
            due = starts + self._arrivals[self._next] if self._arrivals else now
            if due > now:
                return
            self.began[self._next] = due
            self._idle.popleft().send(self._next, self._requests[self._next])
            self._next += 1

    def _until_next(self, starts: float) -> float:
        if self._arrivals and self._idle and self._next < len(self._requests):
            return max(starts + self._arrivals[self._next] - time.perf_counter(), 0)
        return 1.0

    def _receive(self, connection: Connection) -> None:
        try:
            answer = connection.receive()
        except ConnectionError:
            self._selector.unregister(connection.socket)
            connection.reconnect()
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            self._send_again(connection)
            return
        number = connection.number
        if answer is None or number is None:
            return
        if answer[0] == BUSY:
            self._send_again(connection)
            return
        self.answered[number] = time.perf_counter()
        self.answers[number] = answer
        connection.number = None
        self._open -= 1
        self._idle.append(connection)

    def _send_again(self, connection: Connection) -> None:
        # A server may close a connection that has nothing under way.
        if connection.number is not None:
            self.resent += 1
            connection.send(connection.number, self._requests[connection.number])


def main() -> None:
    """Do the job that stands on the standard input."""
    job = json.loads(sys.stdin.readline())
    requests = [request.encode("latin-1") for request in job["requests"]]
    load = Load((job["host"], job["port"]), requests, job["connections"], job["arrivals"])
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    since_epoch = time.time() - time.perf_counter()
    before = _cpu_seconds()
    load.run(job["seconds"])
    used = _cpu_seconds() - before
    answers = [
        _tell(status, answer, began + since_epoch, answered + since_epoch)
        for (status, answer), began, answered in zip(load.answers, load.began, load.answered, strict=True)
    ]
    print(json.dumps({"answers": answers, "resent": load.resent, "cpu_seconds": used}), flush=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _tell(status: int, answer: bytes, began: float, answered: float) -> dict[str, Any]:
    head, _, body = answer.partition(HEAD_END)
    code = _first(CODE, body) if status >= 400 else ""  # noqa: PLR2004 problems have a code
    return {
        "status": status,
        "began": began,
        "answered": answered,
        "location": _first(LOCATION, head),
        "etag": _first(ETAG, head),
        "code": code,
    }


def _first(pattern: re.Pattern[bytes], text: bytes) -> str:
    found = pattern.search(text)
    return found[1].decode() if found else ""


if __name__ == "__main__":
    try:
        main()
    except (LoadError, OSError) as error:
        sys.exit(f"load: {error}")
