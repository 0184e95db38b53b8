"""The secret of a ticket: drawn when it is issued, and anew whenever it changes hands."""

import secrets

CODE_BYTES = 16
"""128 random bits (OWASP ASVS 4.0.3, 6.3): a code cannot be guessed."""


def draw_code() -> str:
    """Return a new code, 22 characters that are safe in a link."""
    return secrets.token_urlsafe(CODE_BYTES)
