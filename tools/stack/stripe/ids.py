"""Ids of Stripe's form."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """Return an id of Stripe's form, impossible to guess."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(length))}"
