"""How every page is answered: rendered without scripts or anything from outside, kept by nobody, refusals as pages.

What the pages say is in `wording.py` and the templates; amounts and times are written as in our mails.
"""

from flask import Blueprint, Response, render_template, request
from flask_limiter import RateLimitExceeded

from adapters.letters import moment, money
from domain.errors import DomainError, NotFoundError
from web.problems import PROBLEMS

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
    "X-Robots-Tag": "noindex",
}
_PATIENCE_SECONDS = 60


def open_pages(name: str) -> Blueprint:
    """Return a blueprint whose refusals are pages, too."""
    blueprint = Blueprint(name, "web.pages", template_folder="templates", static_folder=None)
    blueprint.add_app_template_filter(money)
    blueprint.add_app_template_filter(moment)
    blueprint.register_error_handler(DomainError, _show_refusal)
    blueprint.register_error_handler(NotFoundError, _show_nothing)
    blueprint.register_error_handler(RateLimitExceeded, _show_limit)
    return blueprint


def page(template: str, *, status: int = 200, **values: object) -> Response:
    """Render a page; `refresh` among the values is after how many seconds the browser loads it again."""
    return Response(render_template(template, **values), status=status, headers=_HEADERS, mimetype="text/html")


def lead_to(path: str) -> Response:
    """Lead on to another page after a form was sent, so that loading it again sends nothing twice."""
    return Response(status=303, headers={**_HEADERS, "Location": path})


def _show_refusal(error: DomainError) -> Response:
    kind = PROBLEMS[error.code]
    return page("message.html", status=kind.status, title=kind.title, message=error.detail)


def _show_nothing(_error: NotFoundError) -> Response:
    message = "This link leads nowhere. Copy it from the mail once more, the whole of it."
    return page("message.html", status=404, title="Not found", message=message)


def _show_limit(_error: RateLimitExceeded) -> Response:
    # A page that renews itself must not end here.
    refresh = _PATIENCE_SECONDS if request.method == "GET" else None
    message = "Wait a minute, then try again."
    return page("message.html", status=429, title="Too many tries", message=message, refresh=refresh)
