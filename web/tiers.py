"""Routes of ticket tiers. The rules are in domain/tiers.py, what buyers see in domain/storefront.py."""

from uuid import UUID

from flask import Response
from sqlalchemy.orm import Session

from domain import catalog, listings, tiers
from domain.admission import require_valid
from domain.code_terms import CodeTerms, may_know
from domain.errors import NotFoundError
from domain.models import TicketTier
from domain.ownership import rights_in
from domain.rules.states import UserRole
from domain.storefront import Offer, read_event_offers, read_offers
from web.addresses import API
from web.auth import current_actor, public, require
from web.openapi import describes, open_blueprint
from web.rate_limits import guessing_limited
from web.responses import answer, nothing
from web.schemas.codes import CODE_PROBLEMS
from web.schemas.events import EventPath
from web.schemas.tiers import AvailabilityBody, CodeArgument, TierBody, TierPath, TierRequest, TiersBody
from web.services import services

blueprint = open_blueprint("tiers", "Kinds of tickets: their price, their limits, and what is left of them.")


@blueprint.post("/events/<uuid:event_id>/tiers", summary="Add a tier", responses={201: TierBody})
@describes(
    problems=(
        "forbidden",
        "event-closed",
        "capacity-exceeded",
        "too-many-tiers",
        "promoter-unverified",
        "payout-account-required",
    ),
    headers={201: {"Location": "Where all tiers are."}},
)
@require(*UserRole, fresh=True)
def create_tier(path: EventPath, body: TierRequest) -> Response:
    """Add a kind of ticket to a draft, or to an event that is on sale."""
    with services().sessions.begin() as session:
        tier = tiers.create_tier(session, current_actor(), path.event_id, body.details(), services().platform)
        shown = _show(session, tier)
    return answer(shown, 201, {"Location": f"{API}/events/{path.event_id}/tiers"})


@blueprint.get("/events/<uuid:event_id>/tiers", summary="List an event's tiers", responses={200: TiersBody})
@describes(problems=CODE_PROBLEMS)
@public
def list_tiers(path: EventPath, query: CodeArgument) -> Response:
    """Return the tiers that can be bought, hidden ones to who sends a code; to their promoter all, with what was sold.

    With a code that takes something off, `availability` has the price of one ticket with it.
    """
    code = _find_code(path.event_id, query)
    with services().sessions() as session:
        event = listings.read_event(session, current_actor(), path.event_id)
        is_own, now = bool(rights_in(session, event, current_actor())), services().clock.now()
        offers = read_event_offers(session, event.id)
        rows = [tier for tier in catalog.read_tiers(session, event.id) if tier.id in offers]
        items = [
            TierBody.of(tier, offers[tier.id], now, is_own=is_own, code=code)
            for tier in rows
            if is_own or (tier.is_active and (not tier.is_hidden or may_know(offers[tier.id], code)))
        ]
    return answer(TiersBody(items=items))


@blueprint.put("/tiers/<uuid:tier_id>", summary="Edit a tier", responses={200: TierBody})
@describes(
    problems=(
        "forbidden",
        "event-closed",
        "capacity-exceeded",
        "quantity-below-sold",
        "promoter-unverified",
        "payout-account-required",
    )
)
@require(*UserRole, fresh=True)
def update_tier(path: TierPath, body: TierRequest) -> Response:
    """Replace what you say about a tier. A new price is for new orders only.

    While the event is on sale a new quantity appears as `desired_quantity` first; moments later it is `quantity`, or
    `quantity_refusal` says why not.
    """
    with services().sessions.begin() as session:
        tier = tiers.update_tier(session, current_actor(), path.tier_id, body.details(), services().platform)
        return answer(_show(session, tier))


@blueprint.delete("/tiers/<uuid:tier_id>", summary="Delete a tier", responses={204: None})
@describes(problems=("forbidden", "event-published"))
def delete_tier(path: TierPath) -> Response:
    """Remove a tier of a draft; one that was on sale can be deactivated."""
    with services().sessions.begin() as session:
        tiers.delete_tier(session, current_actor(), path.tier_id)
    return nothing()


@blueprint.get("/tiers/<uuid:tier_id>/availability", summary="See what is left", responses={200: AvailabilityBody})
@describes(problems=CODE_PROBLEMS)
@public
def show_availability(path: TierPath, query: CodeArgument) -> Response:
    """Return what could be bought at this moment. It is a picture: only an order that was served has a ticket."""
    offer = services().storefront.look([path.tier_id]).get(path.tier_id)
    code = _find_code(offer.event_id, query) if offer is not None else None
    if offer is None or not (may_see(offer) or may_know(offer, code)):
        raise NotFoundError("tier")
    return answer(AvailabilityBody.of(offer, services().clock.now(), code))


@blueprint.post("/tiers/<uuid:tier_id>/pause", summary="Pause a tier", responses={200: TierBody})
@describes(problems=("forbidden", "event-closed"))
def pause_tier(path: TierPath) -> Response:
    """Stop serving: orders are still accepted and keep their place, and what is held can be paid."""
    with services().sessions.begin() as session:
        return answer(_show(session, tiers.pause_tier(session, current_actor(), path.tier_id)))


@blueprint.post("/tiers/<uuid:tier_id>/drain", summary="Drain a tier", responses={200: TierBody})
@describes(problems=("forbidden", "event-closed"))
def drain_tier(path: TierPath) -> Response:
    """Take no new orders (409 `sale-draining`), and serve those in line, even if the tier was paused."""
    with services().sessions.begin() as session:
        return answer(_show(session, tiers.drain_tier(session, current_actor(), path.tier_id)))


@blueprint.post("/tiers/<uuid:tier_id>/resume", summary="Resume a tier", responses={200: TierBody})
@describes(problems=("forbidden", "event-closed"))
def resume_tier(path: TierPath) -> Response:
    """End a pause or a drain: serve again, beginning with who has waited longest, and take orders."""
    with services().sessions.begin() as session:
        return answer(_show(session, tiers.resume_tier(session, current_actor(), path.tier_id)))


def _show(session: Session, tier: TicketTier) -> TierBody:
    """Show a tier to its promoter, as this transaction leaves it."""
    session.flush()
    offer = read_offers(session, [tier.id])[tier.id]
    return TierBody.of(tier, offer, services().clock.now(), is_own=True)


def _find_code(event_id: UUID, query: CodeArgument) -> CodeTerms | None:
    """Return the code that was sent, if any; a wrong one is refused, and counted."""
    if query.code is None:
        return None
    with guessing_limited(query.code):
        return require_valid(services().storefront.find_code(event_id, query.code), services().clock.now())


def may_see(offer: Offer) -> bool:
    """Tell whether the caller may know of a tier: everybody of a public one, else its promoter, their team and admins.

    Only for what is not public a question goes to the database.
    """
    if offer.is_public:
        return True
    with services().sessions() as session:
        return listings.is_insider(session, current_actor(), offer.event_id)
