"""Routes of accounts: `/auth/*`. The rules are in domain/accounts.py and domain/logins.py."""

import math
import time
from datetime import timedelta

from flask import Response

from domain import accounts, logins
from domain.accounts import Registration
from domain.errors import UnauthenticatedError
from domain.logins import Grant
from domain.models import User
from web.addresses import API
from web.auth import (
    current_actor,
    current_family_id,
    current_user_id,
    issue_tokens,
    public,
    read_refresh_token,
)
from web.openapi import describes, open_blueprint
from web.rate_limits import check_failed_log_ins, count_failed_log_in, limited
from web.responses import answer, nothing
from web.schemas.accounts import (
    AcceptedBody,
    EditProfileRequest,
    ForgotPasswordRequest,
    LogInRequest,
    RefreshRequest,
    RegisterRequest,
    ResetPasswordRequest,
    TokenRequest,
    TokensBody,
    UserBody,
)
from web.services import services

blueprint = open_blueprint("accounts", "Registering, logging in and staying logged in.")

GRAIN_SECONDS = 0.1


@blueprint.post("/auth/register", summary="Open an account", responses={201: UserBody})
@describes(problems=("email-taken",), headers={201: {"Location": "Where the account is."}})
@limited("accounts")
@public
def register(body: RegisterRequest) -> Response:
    """Open an account with the role `user`. It works at once; a link to prove its address is mailed."""
    parts = services()
    user = accounts.register(
        parts.sessions,
        parts.hasher,
        Registration(**body.model_dump()),
        current_actor(),
        keyring=parts.tokens,
        now=parts.clock.now(),
    )
    return answer(UserBody.model_validate(user), 201, {"Location": f"{API}/auth/me"})


@blueprint.post("/auth/login", summary="Log in", responses={200: TokensBody})
@describes(problems=("invalid-credentials",))
@limited("accounts")
@public
def log_in(body: LogInRequest) -> Response:
    """Return tokens: 15 minutes for access, 7 days to refresh. An unknown address is refused like a wrong password."""
    parts = services()
    started = time.monotonic()
    check_failed_log_ins(body.email)
    try:
        user, grant = logins.log_in(
            parts.sessions,
            parts.hasher,
            (body.email, body.password),
            current_actor(),
            decoy_hash=parts.decoy_hash,
            lifetime=timedelta(seconds=parts.settings.jwt_refresh_seconds),
            now=parts.clock.now(),
        )
    except UnauthenticatedError:
        count_failed_log_in(body.email)
        _round_up_time(started)
        raise
    return _render_tokens(user, grant)


@blueprint.post("/auth/refresh", summary="Exchange the refresh token", responses={200: TokensBody})
@limited("accounts")
@public
def refresh(body: RefreshRequest) -> Response:
    """Return the next tokens. A refresh token works once; using it again ends the log-in: one of the two is a thief."""
    parts = services()
    claims = read_refresh_token(body.refresh_token)
    user, grant = logins.refresh(
        parts.sessions,
        claims.token_id,
        current_actor(),
        lifetime=timedelta(seconds=parts.settings.jwt_refresh_seconds),
        now=parts.clock.now(),
    )
    return _render_tokens(user, grant)


@blueprint.post("/auth/logout", summary="Log out", responses={204: None})
@limited("accounts")
def log_out() -> Response:
    """End the log-in: its refresh tokens stop working at once, its access token when it expires (15 minutes)."""
    parts = services()
    with parts.sessions.begin() as session:
        logins.log_out(session, current_actor(), current_family_id(), parts.clock.now())
    return nothing()


@blueprint.get("/auth/me", summary="Who am I?", responses={200: UserBody})
@describes(problems=("not-found",))
def show_me() -> Response:
    """Return one's own account."""
    with services().sessions() as session:
        return answer(UserBody.model_validate(accounts.find_user(session, current_user_id())))


@blueprint.patch("/auth/me", summary="Change my profile", responses={200: UserBody})
@describes(problems=("not-found",))
def edit_me(body: EditProfileRequest) -> Response:
    """Change names and phone; what is left out stays."""
    values = body.model_dump(exclude_unset=True)
    with services().sessions.begin() as session:
        user = accounts.edit_profile(session, current_actor(), values)
    return answer(UserBody.model_validate(user))


@blueprint.post("/auth/verify-email", summary="Prove my address", responses={200: UserBody})
@describes(problems=("link-spent",))
@limited("accounts")
@public
def verify_email(body: TokenRequest) -> Response:
    """Spend the token of the mailed link."""
    parts = services()
    with parts.sessions.begin() as session:
        user = accounts.verify_email(session, body.token, current_actor(), parts.clock.now())
    return answer(UserBody.model_validate(user))


@blueprint.post("/auth/verify-email/resend", summary="Mail the link again", responses={202: AcceptedBody})
@describes(problems=("not-found",))
@limited("accounts")
def resend_verification() -> Response:
    """Mail a new link, at most once a minute and five times an hour; the older links stop working."""
    parts = services()
    with parts.sessions.begin() as session:
        accounts.resend_verification(session, current_actor(), keyring=parts.tokens, now=parts.clock.now())
    return answer(AcceptedBody(detail="Unless your address is proven already, a mail is under way."), 202)


@blueprint.post("/auth/password/forgot", summary="Forget my password", responses={202: AcceptedBody})
@limited("accounts")
@public
def forget_password(body: ForgotPasswordRequest) -> Response:
    """Mail a link for a new password. The answer is the same whether there is such an account or not."""
    parts = services()
    started = time.monotonic()
    with parts.sessions.begin() as session:
        accounts.request_password_reset(
            session, body.email, current_actor(), keyring=parts.tokens, now=parts.clock.now()
        )
    _round_up_time(started)
    return answer(AcceptedBody(detail="If there is such an account, a mail is under way."), 202)


@blueprint.post("/auth/password/reset", summary="Set a new password", responses={204: None})
@describes(problems=("link-spent",))
@limited("accounts")
@public
def reset_password(body: ResetPasswordRequest) -> Response:
    """Spend the token of the mailed link. Every log-in of the account ends."""
    parts = services()
    accounts.reset_password(
        parts.sessions, parts.hasher, body.token, body.password, current_actor(), now=parts.clock.now()
    )
    return nothing()


def _render_tokens(user: User, grant: Grant) -> Response:
    access, refreshing = issue_tokens(user.role, grant)
    settings = services().settings
    body = TokensBody(
        access_token=access,
        refresh_token=refreshing,
        expires_in=int(settings.jwt_access_seconds),
        refresh_expires_in=int(settings.jwt_refresh_seconds),
        user=UserBody.model_validate(user),
    )
    return answer(body, headers={"Cache-Control": "no-store"})


def _round_up_time(started: float) -> None:
    """Wait until the answer has taken a whole number of grains, which hides the milliseconds that an account costs."""
    elapsed = time.monotonic() - started
    time.sleep(math.ceil(elapsed / GRAIN_SECONDS) * GRAIN_SECONDS - elapsed)
