"""Outgoing webhooks: what is sent to an address of somebody else's choosing, and the port itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HookPost:
    """A signed message, and where it goes."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class HookSender(Protocol):
    """A way to addresses that strangers chose: public ones only, no redirect followed, no answer's body read."""

    def send(self, post: HookPost) -> int:
        """Post, and return the status of the answer, whatever it is.

        Raises `RetryableVendorError` when there was no answer in time, `PermanentVendorError` when the address must
        not be called.
        """
        ...
