"""Hiding secrets in what is shown or handed out: by the names of fields, and inside of links."""

import re
from typing import Any

HIDDEN = "(hidden)"
_SECRET_NAME = re.compile("secret|token|password|signature", re.IGNORECASE)
_SECRET_ARGUMENT = re.compile(r"([^?&]*(?:secret|token)[^=&]*=)[^&#\s]+", re.IGNORECASE)


def without_secrets(value: Any) -> Any:
    """Return a value of JSON's types in which every secret reads `(hidden)`."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if inner is not None and _SECRET_NAME.search(name) else without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return _SECRET_ARGUMENT.sub(rf"\1{HIDDEN}", value) if isinstance(value, str) else value
