"""The API's description at `/openapi.json`, and the page at `/docs` that shows it, with nothing from outside."""

from pathlib import Path
from typing import cast

import flask_openapi_swagger
from flask import Blueprint, Response, current_app, render_template, send_from_directory

from web.auth import public
from web.openapi import TicketVendor
from web.rate_limits import unlimited
from web.responses import JSON

blueprint = Blueprint("docs", __name__, template_folder="pages/templates", static_folder=None)

_SWAGGER = Path(flask_openapi_swagger.__file__).parent / "templates" / "swagger"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@blueprint.get("/openapi.json")
@public
def describe() -> Response:
    """Return the description (OpenAPI 3.1)."""
    return Response(cast(TicketVendor, current_app).describe(), mimetype=JSON)


@blueprint.get("/docs")
@public
def show() -> Response:
    """Show the description as a page."""
    response = Response(render_template("docs.html"), mimetype="text/html")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@blueprint.get("/docs/assets/<path:name>")
@public
@unlimited
def asset(name: str) -> Response:
    """Serve a part of the page."""
    folder = Path(__file__).parent / "pages" / "static" if name.startswith("docs.") else _SWAGGER
    return send_from_directory(folder, name, max_age=3600)
