"""Outgoing webhooks over HTTP (port `HookSender`), to addresses that strangers chose.

The name is resolved once, here, and the connection goes to just that address, if it is a public one: what the name
means a moment later cannot lead anywhere else. TLS still checks the name. No proxy, no redirect, no cookie.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from domain.errors import PermanentVendorError, RetryableVendorError
from domain.ports import HookPost
from domain.rules.addresses import find_fault, is_loopback, is_public

PORTS = {"https": 443, "http": 80}
TIMEOUT_SECONDS = 15.0
Target = tuple[socket.AddressFamily, Any]
"""A family of addresses, and an address of it as sockets take it."""


class HookSender:
    """Posts to public addresses, with `to_loopback` to this machine's, too. `timeout` is for all of it, in seconds."""

    def __init__(
        self, *, timeout: float = TIMEOUT_SECONDS, to_loopback: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        self._timeout = timeout
        self._to_loopback = to_loopback
        self._tls = tls or ssl.create_default_context()

    def send(self, post: HookPost) -> int:
        """Post, and return the status of the answer; nothing of its body is read.

        Raises `RetryableVendorError` when there was no answer in time, `PermanentVendorError` when the address must
        not be called.
        """
        if fault := find_fault(post.url, to_loopback=self._to_loopback):
            raise PermanentVendorError(fault, code="forbidden-address")
        parts = urlsplit(post.url)
        ends = time.monotonic() + self._timeout
        try:
            with self._connect(parts, ends) as connection:
                target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
                connection.request("POST", target, post.body, {"host": parts.netloc, **post.headers})
                return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            why = "in time" if time.monotonic() >= ends else f"({type(error).__name__})"
            raise RetryableVendorError(f"There was no answer {why}.", code="no-answer") from error

    @contextlib.contextmanager
    def _connect(self, parts: SplitResult, ends: float) -> Iterator[http.client.HTTPConnection]:
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        raw = _open(self._resolve(host, port), ends)
        # Each read has its own time-out, so one who sends a byte now and then is ended by the clock. A duplicate,
        # because TLS takes the socket over.
        handle = raw.dup()
        watch = threading.Timer(max(0, ends - time.monotonic()), _hang_up, [handle])
        watch.daemon = True
        watch.start()
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        try:
            connection.sock = raw
            if parts.scheme == "https":
                connection.sock = self._tls.wrap_socket(raw, server_hostname=host)
            yield connection
        finally:
            watch.cancel()
            connection.close()
            raw.close()
            handle.close()

    def _resolve(self, host: str, port: int) -> Sequence[Target]:
        """Return the addresses that may be called; raise `PermanentVendorError` if there are only others."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        except (OSError, UnicodeError) as error:
            raise RetryableVendorError("The host's name cannot be resolved.", code="unresolved") from error
        targets = [(family, address) for family, _, _, _, address in found if self._may_call(str(address[0]))]
        if not targets:
            raise PermanentVendorError("The host's address is not a public one.", code="forbidden-address")
        return targets

    def _may_call(self, address: str) -> bool:
        return is_public(address) or (self._to_loopback and is_loopback(address))


def _open(targets: Sequence[Target], ends: float) -> socket.socket:
    """Connect to the first of the addresses that answers; raise `OSError` when none does in time."""
    trouble: OSError = TimeoutError("no time was left")
    for family, address in targets:
        left = ends - time.monotonic()
        if left <= 0:
            break
        connected = socket.socket(family, socket.SOCK_STREAM)
        connected.settimeout(left)
        try:
            connected.connect(address)
        except OSError as error:
            connected.close()
            trouble = error
        else:
            return connected
    raise trouble


def _hang_up(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)
