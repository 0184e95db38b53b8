"""HTTP as an impatient client speaks it: JSON over one kept connection; any answer will do, and none may come."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT_SECONDS = 15.0
KEPT_SECONDS = 2.0
"""A connection that nobody has used for so long may have been hung up by the server: it is not used again."""
BUSY = 503


class LostError(Exception):
    """No answer came: what was asked may have been done, or not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: Any
    """Read as JSON; None where there is none."""

    @property
    def code(self) -> str:
        """The code of a problem, or nothing."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""


class Client:
    """Speaks to one base URL on a connection of its own, so it belongs to one thread."""

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None) -> None:
        where = urlsplit(base_url)
        self._host, self._port = where.hostname or "", where.port
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0
        self.headers = dict(headers or {})

    def get(self, path: str, **headers: str) -> Answer:
        """GET a path; raise `LostError` if no answer comes. Header names have _ for -."""
        return self.send("GET", path, headers=headers)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        """POST JSON; raise `LostError` if no answer comes."""
        return self.send("POST", path, body, headers)

    def post_form(self, path: str, **fields: str) -> Answer:
        """POST a form, as Stripe's own libraries do."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._exchange("POST", path, urlencode(fields).encode(), {**self.headers, **kind}, TIMEOUT_SECONDS)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Answer:
        """Send a request; raise `LostError` if no whole answer comes within the seconds."""
        named = self.headers | {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        if body is not None:
            named["Content-Type"] = "application/json"
        return self._exchange(method, path, None if body is None else json.dumps(body).encode(), named, timeout)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        connection = self._connect(timeout)
        try:
            connection.request(method, path, data, dict(headers))
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise LostError(f"{method} {path}: {type(error).__name__}") from None
        self._used = time.monotonic()
        if response.will_close:
            self.close()
        given = {name.lower(): value for name, value in response.getheaders()}
        is_json = "json" in given.get("content-type", "")
        return Answer(response.status, given, json.loads(content) if content and is_json else None)

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if time.monotonic() - self._used > KEPT_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        self._connection.timeout = timeout
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        return self._connection
