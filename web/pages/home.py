"""The start page: what this is, and where to go from here."""

from flask import Response

from web.auth import public
from web.pages.page import open_pages, page

blueprint = open_pages("home_page")


@blueprint.get("/")
@public
def show_start() -> Response:
    """Say what this is."""
    return page("home.html")
