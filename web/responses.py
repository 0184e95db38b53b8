"""How answers are written: JSON bodies from models, straight to bytes. Refusals are in problems.py."""

from collections.abc import Iterable, Mapping
from typing import Any

from flask import Response
from pydantic import BaseModel
from werkzeug.datastructures import Headers

JSON = "application/json"


class WholeResponse(Response):
    """A response that the server gets in one piece.

    Werkzeug hands an iterator over, which granian takes bit by bit: headers and body leave by themselves.
    """

    def get_app_iter(self, environ: dict[str, Any]) -> Iterable[bytes]:
        """Return the body as a list; nothing is left to be closed."""
        try:
            return list(super().get_app_iter(environ))
        finally:
            self.close()

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Return the headers as they stand where they fit already: with a body's length, or without a word of a body.

        Werkzeug would copy them and look through them, also for letters in a `Location` that no path of ours has.
        """
        fit = "Content-Length" in self.headers or "Content-Type" not in self.headers
        return self.headers if fit else super().get_wsgi_headers(environ)


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a model as the JSON body of an answer."""
    return WholeResponse(body.model_dump_json(by_alias=True), status=status, headers=headers, mimetype=JSON)


def nothing(status: int = 204) -> Response:
    """Return an answer that has no body by its status."""
    response = WholeResponse(status=status)
    del response.headers["Content-Type"]
    return response
