"""The pages to which Stripe sends promoters back from its onboarding.

They cannot know who has come, and whoever comes has not proved anything: they say what is always true.
"""

from flask import Response

from web.auth import public
from web.pages.page import open_pages, page

blueprint = open_pages("promoter_pages")

RETURN_PATH = "/payout-account/back"
REFRESH_PATH = "/payout-account/expired"


@blueprint.get(RETURN_PATH)
@public
def show_return() -> Response:
    """Say what happens after the onboarding, whether it was completed or left."""
    return page("onboarding_left.html")


@blueprint.get(REFRESH_PATH)
@public
def show_expired_link() -> Response:
    """Say that the link no longer holds, and how to get another one."""
    return page("onboarding_expired.html")
