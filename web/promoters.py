"""Routes of promoters: `/promoters/*`. The rules are in domain/promoters.py."""

from flask import Response

from domain import promoters
from domain.promoters import PromoterTerms
from domain.rules.states import UserRole
from web.addresses import API
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.paging import Page, cut
from web.responses import answer
from web.schemas.promoters import (
    CreatePromoterRequest,
    EditPromoterRequest,
    PromoterArguments,
    PromoterBody,
    PromoterPath,
    PromoterTermsRequest,
    RejectPromoterRequest,
)
from web.services import services

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
