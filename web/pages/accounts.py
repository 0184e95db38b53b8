"""The pages that account mails link to.

Opening one changes nothing, because mail scanners open links: only its button acts, by POST. The token in the form is
a secret that no forged form could know, so no other is needed.
"""

from pathlib import Path

from flask import Response, request, send_from_directory
from pydantic import ValidationError

from domain import accounts
from domain.errors import DomainError
from domain.rules.passwords import LENGTH_MAX, LENGTH_MIN
from web.auth import current_actor, public
from web.pages.page import open_pages, page
from web.rate_limits import limited, unlimited
from web.schemas.accounts import ResetPasswordRequest, TokenRequest
from web.services import services

blueprint = open_pages("account_pages")

_STATIC = Path(__file__).parent / "static"


@blueprint.get("/verify-email")
@public
def show_verification() -> Response:
    """Ask whether to prove the address."""
    return page("verify_email.html", token=request.args.get("token", ""))


@blueprint.post("/verify-email")
@limited("accounts")
@public
def verify_email() -> Response:
    """Prove the address."""
    parts = services()
    body = TokenRequest.model_validate({"token": request.form.get("token", "")})
    with parts.sessions.begin() as session:
        accounts.verify_email(session, body.token, current_actor(), parts.clock.now())
    return page("message.html", title="Thank you", message="Your e-mail address is confirmed. You can close this page.")


@blueprint.get("/reset-password")
@public
def show_password_form() -> Response:
    """Ask for the new password."""
    return _password_form(request.args.get("token", ""))


@blueprint.post("/reset-password")
@limited("accounts")
@public
def reset_password() -> Response:
    """Set the new password, or ask again for a better one."""
    parts = services()
    token = request.form.get("token", "")
    try:
        body = ResetPasswordRequest.model_validate({"token": token, "password": request.form.get("password", "")})
        accounts.reset_password(
            parts.sessions, parts.hasher, body.token, body.password, current_actor(), now=parts.clock.now()
        )
    except ValidationError:
        return _password_form(token, fault=f"A password has {LENGTH_MIN} to {LENGTH_MAX} characters.", status=422)
    except DomainError as error:
        if error.pointer != "/password":
            raise
        return _password_form(token, fault=error.detail, status=422)
    message = "Your new password works, and every device has been logged out. Log in again with it."
    return page("message.html", title="Done", message=message)


@blueprint.get("/pages/<path:name>")
@public
@unlimited
def asset(name: str) -> Response:
    """Serve a part of the pages."""
    return send_from_directory(_STATIC, name, max_age=3600)


@blueprint.errorhandler(ValidationError)
def _show_incomplete(_error: ValidationError) -> Response:
    message = "The link is not complete. Copy it from the mail once more, the whole of it."
    return page("message.html", status=422, title="Something is missing", message=message)


def _password_form(token: str, *, fault: str | None = None, status: int = 200) -> Response:
    return page("reset_password.html", status=status, token=token, fault=fault, shortest=LENGTH_MIN, longest=LENGTH_MAX)
