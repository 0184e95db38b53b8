"""Ports on the loopback: the usual one where it is free, any free one otherwise."""

import socket
from contextlib import closing

HOST = "127.0.0.1"


class Port:
    """A port that is kept from others until its server starts: `release` it just before."""

    def __init__(self, preferred: int) -> None:
        self.preferred = preferred
        self._guard = _listen(preferred) or _listen(0)
        if self._guard is None:
            raise OSError(f"No port is free on {HOST}.")
        self.number: int = self._guard.getsockname()[1]

    @property
    def was_taken(self) -> bool:
        """Tell whether the preferred port belongs to somebody else; 0 prefers none."""
        return self.preferred not in {0, self.number}

    def release(self) -> None:
        """Let the server have it."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None


def is_open(port: int) -> bool:
    """Tell whether something on the loopback accepts connections there."""
    try:
        with closing(socket.create_connection((HOST, port), timeout=1)):
            return True
    except OSError:
        return False


def _listen(port: int) -> socket.socket | None:
    # Systems other than Linux let a second listener in beside one on all addresses, so ask first.
    if port and is_open(port):
        return None
    guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        guard.bind((HOST, port))
        guard.listen(1)
    except OSError:
        guard.close()
        return None
    return guard
