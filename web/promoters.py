"""Routes of promoters: `/promoters/*`. The rules are in domain/promoters.py and domain/payout_accounts.py."""

import math

import structlog
from flask import Response

from domain import payout_accounts, promoters
from domain.errors import BusyError, PermanentVendorError, RetryableVendorError, VendorError
from domain.payout_accounts import ReturnPages
from domain.promoters import PromoterTerms
from domain.rules.states import UserRole
from web.addresses import API
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.pages.promoters import REFRESH_PATH, RETURN_PATH
from web.paging import Page, cut
from web.problems import Problem
from web.rate_limits import limited
from web.responses import answer
from web.schemas.promoters import (
    CreatePromoterRequest,
    EditPromoterRequest,
    OnboardingLinkBody,
    PayoutAccountBody,
    PromoterArguments,
    PromoterBody,
    PromoterPath,
    PromoterTermsRequest,
    RejectPromoterRequest,
)
from web.services import services

log = structlog.get_logger()

PROMOTERS = (UserRole.PROMOTER, UserRole.ADMIN)
_PATIENCE_SECONDS = 5

blueprint = open_blueprint("promoters", "Those who sell: their profiles, and their verification by an admin.")


@blueprint.post("/promoters/me", summary="Become a promoter", responses={201: PromoterBody})
@describes(problems=("profile-exists", "not-found"), headers={201: {"Location": "Where the profile is."}})
def open_profile(body: CreatePromoterRequest) -> Response:
    """Open one's profile, which waits for verification. The role `promoter` counts at once, for older tokens too."""
    with services().sessions.begin() as session:
        promoters.open_profile(session, current_actor(), body.model_dump())
        promoter = promoters.find_own(session, current_actor())
        return answer(PromoterBody.model_validate(promoter), 201, {"Location": f"{API}/promoters/me"})


@blueprint.get("/promoters/me", summary="My promoter profile", responses={200: PromoterBody})
@describes(problems=("not-found",))
def show_own() -> Response:
    """Return one's own profile."""
    with services().sessions() as session:
        return answer(PromoterBody.model_validate(promoters.find_own(session, current_actor())))


@blueprint.patch("/promoters/me", summary="Change my promoter profile", responses={200: PromoterBody})
@describes(problems=("not-found",))
def edit_own(body: EditPromoterRequest) -> Response:
    """Change what is sent. Another company name, tax number or country waits for verification again."""
    with services().sessions.begin() as session:
        promoter = promoters.edit_own(session, current_actor(), body.model_dump(exclude_unset=True))
        return answer(PromoterBody.model_validate(promoter))


@blueprint.post(
    "/promoters/me/payout-account",
    summary="Open or complete my payout account",
    responses={200: PayoutAccountBody, 201: PayoutAccountBody},
)
@describes(
    problems=("not-found", "payout-account-refused"),
    headers={201: {"Location": "The profile, which shows how the account stands."}},
)
@limited("payout-accounts")
@require(*PROMOTERS, fresh=True)
def open_payout_account() -> Response:
    """Open the Stripe account that your money goes to, unless there is one, and return a link to complete it.

    Lead your browser there. Ask again whenever you need another link, or had no answer: there is one account only. This
    is the one request that waits for Stripe: a link is for one visit within minutes, so it is made for the browser that
    asks, and kept nowhere.
    """
    parts = services()
    if not parts.onboarding_seats.acquire(blocking=False):
        raise BusyError("Others are on their way to Stripe at this moment.", retry_after=_PATIENCE_SECONDS)
    try:
        onboarding = payout_accounts.begin_onboarding(
            parts.sessions, parts.gateway, current_actor(), _return_pages(), parts.clock.now()
        )
    except VendorError as error:
        raise _trouble_with_stripe(error) from None
    finally:
        parts.onboarding_seats.release()
    shown = PayoutAccountBody(
        account_id=onboarding.account_id,
        state=onboarding.state,
        onboarding=OnboardingLinkBody.model_validate(onboarding.link),
    )
    return answer(shown, 201, {"Location": f"{API}/promoters/me"}) if onboarding.is_new else answer(shown)


@blueprint.get("/promoters", summary="List promoters", responses={200: Page[PromoterBody]})
@require(UserRole.ADMIN)
def list_promoters(query: PromoterArguments) -> Response:
    """Return promoters, newest first."""
    after = query.after_id()
    with services().sessions() as session:
        found = promoters.list_promoters(session, query.verification_status, before=after, limit=query.limit)
        rows, next_cursor = cut(found, query.limit, lambda promoter: (promoter.id,))
        items = [PromoterBody.model_validate(promoter) for promoter in rows]
    return answer(Page[PromoterBody](items=items, next_cursor=next_cursor))


@blueprint.post("/promoters/<uuid:promoter_id>/verify", summary="Verify a promoter", responses={200: PromoterBody})
@describes(problems=("conflict",))
@require(UserRole.ADMIN, fresh=True)
def verify(path: PromoterPath) -> Response:
    """Let a promoter sell."""
    parts = services()
    with parts.sessions.begin() as session:
        promoter = promoters.verify(session, current_actor(), path.promoter_id, parts.clock.now())
        return answer(PromoterBody.model_validate(promoter))


@blueprint.post("/promoters/<uuid:promoter_id>/reject", summary="Reject a promoter", responses={200: PromoterBody})
@describes(problems=("conflict",))
@require(UserRole.ADMIN, fresh=True)
def reject(path: PromoterPath, body: RejectPromoterRequest) -> Response:
    """Keep a promoter from publishing more; what is on sale stays on sale."""
    with services().sessions.begin() as session:
        promoter = promoters.reject(session, current_actor(), path.promoter_id, body.reason)
        return answer(PromoterBody.model_validate(promoter))


@blueprint.put("/promoters/<uuid:promoter_id>/terms", summary="Set a promoter's fees", responses={200: PromoterBody})
@require(UserRole.ADMIN, fresh=True)
def set_terms(path: PromoterPath, body: PromoterTermsRequest) -> Response:
    """Set the fees of the promoter's future events; null returns to the platform's."""
    with services().sessions.begin() as session:
        promoter = promoters.set_terms(session, current_actor(), path.promoter_id, PromoterTerms(**body.model_dump()))
        return answer(PromoterBody.model_validate(promoter))


def _return_pages() -> ReturnPages:
    address = services().settings.public_url.rstrip("/")
    return ReturnPages(return_url=address + RETURN_PATH, refresh_url=address + REFRESH_PATH)


def _trouble_with_stripe(error: VendorError) -> Problem:
    """Return the problem that a client meets; Stripe's own words may be about our platform, or hold an address."""
    log.warning("payout_account.trouble", error=type(error).__name__, code=error.code)
    if isinstance(error, PermanentVendorError):
        detail = "Stripe refuses. Check your company name, country and e-mail address, then try again, or write to us."
        return Problem("payout-account-refused", detail)
    wait = error.retry_after if isinstance(error, RetryableVendorError) else None
    return Problem(
        "unavailable",
        "Stripe does not answer. Ask again: whatever came of this request, there will be one account.",
        headers={"Retry-After": str(math.ceil(wait or _PATIENCE_SECONDS))},
    )
