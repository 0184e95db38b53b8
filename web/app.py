"""The web app: `create_app` puts the parts together, in the order in which a request meets them.

What the parts do is in their own modules; a blueprint is one noun's routes.
"""

import sys

from flask import Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from adapters.garbage import set_start_aside
from adapters.logs import set_up_logs
from settings import Settings, load
from web import (
    accounts,
    admin,
    analytics,
    announcements,
    attendees,
    auth,
    check_ins,
    codes,
    disputes,
    docs,
    documents,
    door,
    event_mail,
    event_orders,
    events,
    fairness,
    health,
    hooks,
    mail_outbox,
    orders,
    personal_data,
    problems,
    promoters,
    rate_limits,
    request_bodies,
    request_ids,
    statements,
    teams,
    tickets,
    tiers,
    transfers,
    waitlist,
    webhook_inbox,
    webhooks,
)
from web.metrics import measure_requests
from web.nouns import Noun
from web.openapi import TicketVendor
from web.pages import accounts as account_pages
from web.pages import documents as document_pages
from web.pages import home as home_page
from web.pages import orders as order_pages
from web.pages import promoters as promoter_pages
from web.pages import transfers as transfer_pages
from web.pages import unsubscribe as unsubscribe_pages
from web.pages import waitlist as waitlist_pages
from web.services import EXTENSION, Services, open_services

API_BLUEPRINTS: list[Noun] = [
    accounts.blueprint,
    promoters.blueprint,
    events.blueprint,
    tiers.blueprint,
    codes.blueprint,
    orders.blueprint,
    fairness.blueprint,
    disputes.blueprint,
    waitlist.blueprint,
    tickets.blueprint,
    check_ins.blueprint,
    door.blueprint,
    transfers.blueprint,
    documents.blueprint,
    statements.blueprint,
    event_orders.blueprint,
    attendees.blueprint,
    analytics.blueprint,
    teams.blueprint,
    hooks.blueprint,
    announcements.blueprint,
    event_mail.blueprint,
    admin.blueprint,
    personal_data.blueprint,
    webhook_inbox.blueprint,
    mail_outbox.blueprint,
    webhooks.blueprint,
    health.blueprint,
]
"""The nouns of the API, as they appear on the docs page."""
BLUEPRINTS = [
    docs.blueprint,
    home_page.blueprint,
    account_pages.blueprint,
    order_pages.blueprint,
    document_pages.blueprint,
    promoter_pages.blueprint,
    waitlist_pages.blueprint,
    transfer_pages.blueprint,
    unsubscribe_pages.blueprint,
]
"""What stands outside of the API's description."""


SWITCH_SECONDS = 0.001
"""So soon a thread that computes lets another go on, which often has only a few bytes to pass on; usual are 5 ms."""


def create_app(settings: Settings | None = None, services: Services | None = None) -> TicketVendor:
    """Return the web app; a server calls it without arguments, tests bring what they want to replace."""
    settings = settings or (services.settings if services else load())
    if services is not None:
        return _put_together(settings, services)
    set_up_logs(settings.log_level, process="web")
    sys.setswitchinterval(SWITCH_SECONDS)
    app = _put_together(settings, open_services(settings))
    set_start_aside()
    return app


def _put_together(settings: Settings, services: Services) -> TicketVendor:
    app = TicketVendor()
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.extensions[EXTENSION] = services
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=1)  # type: ignore[method-assign]
    _install(app, settings)
    return app


def _install(app: TicketVendor, settings: Settings) -> None:
    problems.install(app)
    request_ids.install(app)
    measure_requests(app)
    auth.install(app, settings)
    app.before_request(auth.identify)
    rate_limits.install(app, settings)
    app.before_request(auth.enforce)
    request_bodies.install(app)
    app.after_request(_protect)
    for noun in API_BLUEPRINTS:
        app.register_api(noun)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)


PROTECTION = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
PRIVATE = ("Cache-Control", "private, no-store")
SECURE = ("Strict-Transport-Security", "max-age=31536000; includeSubDomains")


def _protect(response: Response) -> Response:
    """Set the headers that keep browsers from guessing, framing and storing, unless the view has set them."""
    wanted = list(PROTECTION)
    if "Authorization" in request.headers or response.status_code >= 400:  # noqa: PLR2004 refusals are not for caches
        wanted.append(PRIVATE)
    if request.is_secure:
        wanted.append(SECURE)
    # Werkzeug's `setdefault` would look through all headers for each of them, twice.
    given = {name.lower() for name, _ in response.headers}
    for name, value in wanted:
        if name.lower() not in given:
            response.headers.add(name, value)
    return response
