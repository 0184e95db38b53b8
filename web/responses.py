"""How answers are written: JSON bodies from models, straight to bytes. Refusals are in problems.py."""

from collections.abc import Mapping

from flask import Response
from pydantic import BaseModel

JSON = "application/json"


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a model as the JSON body of an answer."""
    return Response(body.model_dump_json(by_alias=True), status=status, headers=headers, mimetype=JSON)


def nothing(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer without a body."""
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response
