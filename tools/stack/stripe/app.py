"""The Flask application: Stripe's API under /v1, the control API under /_standin, the pages for people at /."""

import json
import logging
from collections.abc import Callable

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from tools.stack.stripe import control, forms, page
from tools.stack.stripe.endpoints import ENDPOINTS, Endpoint
from tools.stack.stripe.errors import ConnectionCutError, RefusalError, envelope, invalid
from tools.stack.stripe.ids import new_id
from tools.stack.stripe.objects import API_VERSION
from tools.stack.stripe.simulator import Reply, Request, Simulator

LOG = logging.getLogger("stripe-standin")
LARGEST_BODY = 256 * 1024


def create_app(simulator: Simulator) -> Flask:
    """Return the WSGI application of one stand-in."""
    app = Flask("stripe-standin", root_path=__file__.rpartition("/")[0], static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    for endpoint in ENDPOINTS:
        app.add_url_rule(
            endpoint.path, endpoint.name, _view(simulator, endpoint), methods=[endpoint.method], strict_slashes=True
        )
    app.register_blueprint(control.blueprint(simulator))
    app.register_blueprint(page.blueprint(simulator))
    app.register_error_handler(RefusalError, _refused)
    app.register_error_handler(HTTPException, _unrecognised)
    app.register_error_handler(ConnectionCutError, _cut)
    app.register_error_handler(Exception, _broken)
    return app


def _view(simulator: Simulator, endpoint: Endpoint) -> Callable[..., Response]:
    def view(id: str = "") -> Response:  # noqa: A002 the route's own name
        simulator.check_key(_api_key())
        reply = simulator.reply(
            Request(
                endpoint=endpoint,
                identifier=id,
                path=request.path,
                form=forms.decode(_form_text()),
                account=request.headers.get("Stripe-Account", ""),
                key=request.headers.get("Idempotency-Key") or None,
                base_url=request.host_url.rstrip("/"),
            )
        )
        return _response(reply)

    return view


def _api_key() -> str:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic" and request.authorization:
        return request.authorization.username or ""
    return credentials.strip() if scheme.lower() == "bearer" else ""


def _form_text() -> str:
    if request.method == "GET":
        return request.query_string.decode("ascii", "replace")
    body = request.get_data()
    if body and request.mimetype != "application/x-www-form-urlencoded":
        raise invalid(
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have "
            "questions, we can help at https://support.stripe.com/."
        )
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise invalid("The request body is not valid UTF-8.") from None


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status, mimetype="application/json")
    response.headers["Request-Id"] = reply.request_id
    response.headers["Stripe-Version"] = API_VERSION
    if key := request.headers.get("Idempotency-Key"):
        response.headers["Idempotency-Key"] = key
        response.headers["Original-Request"] = reply.request_id
    if reply.replayed:
        response.headers["Idempotent-Replayed"] = "true"
        response.headers["Request-Id"] = new_id("req", 14)
    if reply.status in {409, 429}:
        response.headers["Stripe-Should-Retry"] = "true"
    return response


def _refused(error: RefusalError) -> Response:
    response = _response(Reply(new_id("req", 14), error.status, json.dumps(error.body, indent=2)))
    response.headers.update(error.headers)
    return response


def _unrecognised(error: HTTPException) -> Response:
    if error.code == 413:  # noqa: PLR2004 the status says it
        return _refused(invalid("The request is too large.", status=413))
    message = (
        f"Unrecognized request URL ({request.method}: {request.path}). Please see https://docs.stripe.com/ or we can "
        "help at https://support.stripe.com/. (This is a stand-in: it answers only part of Stripe's API.)"
    )
    return _refused(invalid(message, status=404))


def _cut(error: ConnectionCutError) -> Response:
    del error
    request.environ["standin.cut"]()
    return Response("", 500)


def _broken(error: Exception) -> Response:
    LOG.error("a call failed: %s %s", request.method, request.path, exc_info=error)
    body = envelope("api_error", "The stand-in itself failed; its log says why.")
    return _refused(RefusalError(500, body))
