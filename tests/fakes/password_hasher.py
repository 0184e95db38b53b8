"""A hasher that costs nothing, and can be told to be busy."""

import hashlib
import secrets

from domain.errors import BusyError


class FakePasswordHasher:
    def __init__(self) -> None:
        self.busy = False

    def hash(self, password: str) -> str:
        return self._digest(secrets.token_hex(4), password)

    def verify(self, password: str, password_hash: str) -> bool:
        salt = password_hash.split("$")[1] if password_hash.startswith("fake$") else ""
        return self._digest(salt, password) == password_hash

    def _digest(self, salt: str, password: str) -> str:
        if self.busy:
            raise BusyError("Too many people are signing in at this moment.", retry_after=2)
        return f"fake${salt}${hashlib.sha256(f'{salt}{password}'.encode()).hexdigest()}"
