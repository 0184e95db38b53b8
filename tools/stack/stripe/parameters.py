"""Kinds of parameters: each reads its part of a form into a typed value, or refuses it as Stripe does.

Which call allows which parameters stands in `calls.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tools.stack.stripe.errors import RefusalError, invalid, not_simulated

METADATA_KEYS, METADATA_KEY, METADATA_VALUE = 50, 40, 500


class Kind(Protocol):
    """One sort of parameter."""

    def read(self, value: Any, path: str) -> Any:
        """Return the typed value; raise a refusal that names `path`."""
        ...


@dataclass(frozen=True)
class Text:
    """Text; an empty one unsets where `blank` allows it, and is refused elsewhere."""

    blank: bool = False
    choices: tuple[str, ...] = ()
    longest: int = 5000

    def read(self, value: Any, path: str) -> str | None:
        """Return the text, or None for a value that was emptied."""
        if not isinstance(value, str):
            raise invalid("Invalid string: an object was given.", param=path)
        if not value and not self.blank:
            raise _empty(path)
        if len(value) > self.longest:
            raise invalid(f"Invalid string: {value[:40]}...; must be at most {self.longest} characters", param=path)
        if value and self.choices and value not in self.choices:
            raise invalid(f"Invalid {path}: must be one of {_alternatives(self.choices)}", param=path)
        return value or None


@dataclass(frozen=True)
class Email:
    """An e-mail address, as loosely checked as Stripe does."""

    def read(self, value: Any, path: str) -> str | None:
        """Return the address, or None for one that was emptied."""
        address = Text(blank=True, longest=800).read(value, path)
        if address and not re.fullmatch(r"[^\s@]+@[^\s@]+\.[^\s@]+", address):
            raise invalid(f"Invalid email address: {address}", code="email_invalid", param=path)
        return address


@dataclass(frozen=True)
class Integer:
    """A whole number."""

    least: int | None = None
    most: int | None = None

    def read(self, value: Any, path: str) -> int:
        """Return the number."""
        if value == "":
            raise _empty(path)
        if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise invalid(f"Invalid integer: {value}", code="parameter_invalid_integer", param=path)
        number = int(value)
        if self.least is not None and number < self.least:
            message = f"This value must be greater than or equal to {self.least}."
            raise invalid(message, code="parameter_invalid_integer", param=path)
        if self.most is not None and number > self.most:
            message = f"This value must be less than or equal to {self.most}."
            raise invalid(message, code="parameter_invalid_integer", param=path)
        return number


@dataclass(frozen=True)
class Seconds:
    """A span of time, for the control API; no longer than anybody would wait."""

    def read(self, value: Any, path: str) -> float:
        """Return the seconds."""
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", value):
            raise invalid(f"Invalid seconds: {value}; must be between 0 and 999", param=path)
        return float(value)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def read(self, value: Any, path: str) -> bool:
        """Return the truth."""
        if value not in ("true", "false"):
            raise invalid(f"Invalid boolean: {value}", param=path)
        return bool(value == "true")


@dataclass(frozen=True)
class Hash:
    """An object with known keys; the whole of a call's parameters is one, too."""

    fields: Mapping[str, Kind]
    required: tuple[str, ...] = ()

    def read(self, value: Any, path: str = "") -> dict[str, Any]:
        """Return the typed values of the keys that were given; refuse unknown and missing ones."""
        if not isinstance(value, dict):
            raise invalid("Invalid object", param=path)
        names = {key: f"{path}[{key}]" if path else key for key in (*value, *self.required)}
        if unknown := [names[key] for key in value if key not in self.fields]:
            raise _unknown(unknown)
        for key in self.required:
            if key not in value:
                message = f"Missing required param: {names[key]}."
                raise invalid(message, code="parameter_missing", param=names[key])
        return {key: self.fields[key].read(part, names[key]) for key, part in value.items()}


@dataclass(frozen=True)
class ListOf:
    """A list, written `key[]=` or `key[0]=`."""

    kind: Kind
    longest: int = 100

    def read(self, value: Any, path: str) -> list[Any]:
        """Return the typed items in their order."""
        if value == "":
            return []
        if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
            raise invalid("Invalid array", param=path)
        if len(value) > self.longest:
            raise invalid(f"Invalid array: at most {self.longest} items are allowed", param=path)
        positions = sorted(value, key=int)
        return [self.kind.read(value[position], f"{path}[{position}]") for position in positions]


@dataclass(frozen=True)
class Metadata:
    """Keys and texts of the caller's own (docs.stripe.com/api/metadata)."""

    def read(self, value: Any, path: str) -> dict[str, str]:
        """Return the texts by key; an empty text removes a key, and the key "" removes all."""
        if value == "":
            return {"": ""}
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise invalid("Invalid object: metadata is a flat set of keys and texts", param=path)
        if len(value) > METADATA_KEYS:
            raise invalid(f"Metadata can have at most {METADATA_KEYS} keys", param=path)
        for key, text in value.items():
            if len(key) > METADATA_KEY or len(text) > METADATA_VALUE:
                raise invalid(
                    f"Metadata keys can have at most {METADATA_KEY} characters, values {METADATA_VALUE}",
                    param=f"{path}[{key[:METADATA_KEY]}]",
                )
        return value


@dataclass(frozen=True)
class Period:
    """A moment in Unix seconds, or bounds on it."""

    def read(self, value: Any, path: str) -> dict[str, int]:
        """Return the bounds by operator; a bare moment means equality."""
        if isinstance(value, str):
            return {"eq": Integer().read(value, path)}
        return Hash({name: Integer() for name in ("gt", "gte", "lt", "lte")}).read(value, path)


@dataclass(frozen=True)
class NotSimulated:
    """Documented by Stripe, and refused here rather than ignored."""

    def read(self, value: Any, path: str) -> Any:
        """Refuse."""
        del value
        raise not_simulated(path)


@dataclass(frozen=True)
class Retired:
    """Taken out of Stripe's API, with a code of its own."""

    code: str
    message: str

    def read(self, value: Any, path: str) -> Any:
        """Refuse."""
        del value
        raise invalid(self.message, code=self.code, param=path)


def merged(metadata: dict[str, str], changes: dict[str, str] | None) -> dict[str, str]:
    """Return metadata with changes applied: empty texts remove their keys, the key "" removes all."""
    if not changes:
        return metadata
    kept = {} if "" in changes else metadata
    return {key: text for key, text in (kept | changes).items() if key and text}


def _alternatives(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])}, or {choices[-1]}"


def _empty(path: str) -> RefusalError:
    return invalid(
        f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; "
        f"however '{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty "
        "value.",
        code="parameter_invalid_empty",
        param=path,
    )


def _unknown(paths: list[str]) -> RefusalError:
    noun = "parameter" if len(paths) == 1 else "parameters"
    return invalid(f"Received unknown {noun}: {', '.join(paths)}", code="parameter_unknown", param=paths[0])
