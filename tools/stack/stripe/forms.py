"""Form bodies and queries with nested keys, as Stripe's libraries write them: `a[b][0]=c`.

Lists stay dictionaries of positions here: whether a key means a list is for its parameter to say.
"""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from tools.stack.stripe.errors import invalid

MAX_DEPTH = 8
MAX_FIELDS = 1000
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
_PART = re.compile(r"\[([^\[\]]*)\]")


def decode(text: str) -> dict[str, Any]:
    """Return the nested values of a form; raise a refusal where two keys cannot both be true."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise invalid("The request body is not a valid form.") from None
    return _nest(pairs)


def _nest(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    form: dict[str, Any] = {}
    for key, value in pairs:
        match = _KEY.match(key)
        parts = [match[1], *_PART.findall(match[2])] if match else [key]
        if len(parts) > MAX_DEPTH:
            raise invalid("The request nests too deeply.", param=parts[0])
        branch = form
        for part in parts[:-1]:
            branch = branch.setdefault(part or str(len(branch)), {})
            if not isinstance(branch, dict):
                raise invalid(f"Invalid object: {key} is given both as a value and as an object.", param=parts[0])
        last = parts[-1] or str(len(branch))
        if isinstance(branch.get(last), dict):
            raise invalid(f"Invalid string: {key} is given both as a value and as an object.", param=parts[0])
        branch[last] = value
    return form
