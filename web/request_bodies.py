"""The gate before every view that reads JSON: media type, syntax and shape, before any schema sees the body."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, get_type_hints

import orjson
from flask import Flask, Request, current_app, request
from flask.json.provider import JSONProvider
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from web.problems import Problem

View = TypeVar("View", bound=Callable[..., Any])
NESTING_MAX = 64
"""Our deepest body has five levels; writers of JSON give up at 254, readers at 200, and each would do so with a 500."""


class ORJSONProvider(JSONProvider):
    """JSON by orjson: faster, and stricter than the standard library's (no NaN, no lone surrogates)."""

    def dumps(self, obj: Any, **_options: Any) -> str:
        """Write as text."""
        return orjson.dumps(obj, default=str).decode()

    def loads(self, s: str | bytes, **_options: Any) -> Any:
        """Read; raise `ValueError` for what is not JSON, or is nested absurdly deep."""
        value = orjson.loads(s)
        _refuse_depth(value)
        return value


class JSONRequest(Request):
    """A request that says what is wrong with its JSON in our words."""

    def __init__(self, environ: dict[str, Any], populate_request: bool = True, shallow: bool = False) -> None:
        super().__init__(environ, populate_request, shallow)
        if "CONTENT_LENGTH" in environ and self.content_length is not None:
            # Then werkzeug reads as much as was announced. Else it goes on until the server says that there is no more,
            # for which granian wakes its loop, and gives the interpreter's lock away, twice again.
            environ.pop("wsgi.input_terminated", None)

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        """Refuse the body."""
        if e is None:
            raise Problem("unsupported-media-type", "Send the body as application/json.")
        if self.content_length is None and len(self.get_data()) == self.max_content_length:
            # A body without an announced length is cut at the limit, and then it is no JSON any more.
            raise RequestEntityTooLarge
        raise Problem("malformed-json", f"The body is not JSON: {e}.")


def takes_bodies_up_to(limit: int) -> Callable[[View], View]:
    """Mark a view whose bodies may have this many bytes, whatever the others' may."""

    def mark(view: View) -> View:
        view.body_limit = limit  # type: ignore[attr-defined]
        return view

    return mark


def install(app: Flask) -> None:
    """Check the bodies of this app's requests."""
    app.json_provider_class = ORJSONProvider
    app.json = ORJSONProvider(app)
    app.request_class = JSONRequest
    app.before_request(_check)


def _refuse_depth(value: Any) -> None:
    """Peel off layer after layer, so that no depth can exhaust a stack."""
    layer = [value]
    for _ in range(NESTING_MAX + 1):
        containers = [inner for inner in layer if isinstance(inner, dict | list)]
        if not containers:
            return
        layer = [part for inner in containers for part in (inner.values() if isinstance(inner, dict) else inner)]
    raise ValueError(f"it is nested deeper than {NESTING_MAX} levels")


def _check() -> None:
    if request.endpoint is None or not _reads_json(view := current_app.view_functions[request.endpoint]):
        return
    if (limit := getattr(view, "body_limit", None)) is not None:
        request.max_content_length = limit
    if request.content_length is None and "Transfer-Encoding" not in request.headers:
        raise Problem("malformed-json", "The body is missing.")
    try:
        body = request.get_json()
    except BadRequest as error:
        raise Problem("malformed-request", "The body ended before its announced length.") from error
    if not isinstance(body, dict):
        raise Problem("validation-failed", "The body must be a JSON object.", pointer="")


@cache
def _reads_json(view: Any) -> bool:
    return "body" in get_type_hints(view)
