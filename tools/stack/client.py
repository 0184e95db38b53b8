"""A small JSON client for the demo: the standard library's HTTP, one sentence when something is refused."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import NOT_MODIFIED
from typing import Any


class RefusedError(Exception):
    """The API answered with a problem; the message shows it."""

    def __init__(self, step: str, status: int, problem: str) -> None:
        super().__init__(f"{step} was refused with {status}:\n{problem}")
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers by lower-case name, and the raw body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.content)


class Client:
    """Speaks to one base URL; remembers who is logged in."""

    def __init__(self, base_url: str, token: str | None = None) -> None:
        self._base_url = base_url
        self._token = token

    def get(self, path: str, **headers: str) -> Answer:
        """GET a path; raise `RefusedError` for anything but success, or 304 where `If_None_Match` asked for it."""
        return self._send("GET", path, None, headers)

    def post(self, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        """POST JSON to a path; raise `RefusedError` for anything but success. Header names have _ for -."""
        return self._send("POST", path, body, headers)

    def log_in(self, email: str, password: str) -> "Client":
        """Return a client for this person."""
        answer = self.post("/api/v1/auth/login", {"email": email, "password": password})
        return Client(self._base_url, answer.body["access_token"])

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._token:
            named["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            named["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        url = f"{self._base_url}{path}"
        request = urllib.request.Request(url, data=data, headers=named, method=method)  # noqa: S310 our own address
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return _read(response)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == NOT_MODIFIED:
                    return _read(error)
                raise RefusedError(f"{method} {path}", error.code, _read(error).content.decode()) from None


def _read(response: Any) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, response.read())
