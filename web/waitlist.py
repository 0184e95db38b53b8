"""The waitlist: join a sold-out tier, see the place, answer an offer."""

from uuid import UUID

from flask import Response
from sqlalchemy.orm import Session

from domain import waitlist
from domain.models import Waitlist
from domain.rules.states import WaitlistStatus
from web.addresses import API
from web.auth import current_actor
from web.idempotency import HEADER, REPLAYED, once
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer, nothing
from web.schemas.events import EventPath
from web.schemas.waitlist import EntryBody, EntryPath, JoinRequest, ListedEntry, OfferBody
from web.services import services

blueprint = open_blueprint("waitlist", "The line for tiers that are sold out; it shares its numbers with purchases.")


@blueprint.post("/events/<uuid:event_id>/waitlist", summary="Join a waitlist", responses={201: EntryBody})
@describes(
    problems=(
        "already-waiting",
        "not-sold-out",
        "sale-closed",
        "limit-exceeded",
        "idempotency-key-malformed",
        "idempotency-key-reused",
    ),
    headers={201: {"Location": "Where the entry is.", REPLAYED: "`true` when an earlier request was answered again."}},
    request_headers={HEADER: ("Names this request: a repetition is answered like the first.", False)},
)
def join_waitlist(path: EventPath, body: JoinRequest) -> Response:
    """Stand in line for a sold-out tier: freed tickets are offered in the order of the numbers."""

    def join(session: Session) -> UUID:
        now = services().clock.now()
        return waitlist.join(session, current_actor(), path.event_id, body.tier_id, body.quantity, now).id

    entry_id, replayed = once(join, status=201)
    response = _show(entry_id, status=201)
    response.headers["Location"] = f"{API}/waitlist/{entry_id}"
    if replayed:
        response.headers[REPLAYED] = "true"
    return response


@blueprint.get(
    "/events/<uuid:event_id>/waitlist", summary="Read an event's waitlist", responses={200: Page[ListedEntry]}
)
@describes(problems=("forbidden",))
def list_event_entries(path: EventPath, query: PageArguments) -> Response:
    """List who waits, was offered tickets, or left, in the order of the line; for those who sell for the event."""
    after = query.after(int)
    with services().sessions() as session:
        key = after[0] if after else None
        rows = waitlist.list_of_event(session, current_actor(), path.event_id, limit=query.limit, after=key)
        page, cursor = cut(rows, query.limit, lambda entry: (entry.sequence,))
        items = [ListedEntry.of(entry) for entry in page]
    return answer(Page[ListedEntry](items=items, next_cursor=cursor), headers={"Cache-Control": "private, no-store"})


@blueprint.get("/waitlist", summary="List your waitlist entries", responses={200: Page[EntryBody]})
def list_entries(query: PageArguments) -> Response:
    """List the entries of whoever is logged in, newest first."""
    after = query.after(UUID)
    with services().sessions() as session:
        rows = waitlist.list_own(session, current_actor(), limit=query.limit, after=after[0] if after else None)
        page, cursor = cut(rows, query.limit, lambda entry: (entry.id,))
        items = [_body(entry) for entry in page]
    return answer(Page[EntryBody](items=items, next_cursor=cursor))


@blueprint.get("/waitlist/<uuid:entry_id>", summary="Show a waitlist entry", responses={200: EntryBody})
def show_entry(path: EntryPath) -> Response:
    """Show the place in line, or the offer that stands."""
    return _show(path.entry_id)


@blueprint.delete("/waitlist/<uuid:entry_id>", summary="Leave a waitlist", responses={204: None})
def leave_waitlist(path: EntryPath) -> Response:
    """Leave the line; an offer that stands is declined."""
    with services().sessions.begin() as session:
        waitlist.leave(session, path.entry_id, current_actor(), services().clock.now())
    return nothing()


@blueprint.post("/waitlist/<uuid:entry_id>/accept", summary="Accept an offer", responses={202: EntryBody})
@describes(problems=("no-offer", "offer-expired"), headers={202: {"Location": "The order to pay."}})
def accept_offer(path: EntryPath) -> Response:
    """Take the offer; its order goes on to payment."""
    with services().sessions.begin() as session:
        now, clocks = services().clock.now(), services().clocks
        order_id = waitlist.accept(session, path.entry_id, current_actor(), clocks, now)
    response = _show(path.entry_id, status=202)
    response.headers["Location"] = f"{API}/orders/{order_id}"
    return response


@blueprint.post("/waitlist/<uuid:entry_id>/decline", summary="Decline an offer", responses={202: EntryBody})
@describes(problems=("no-offer",))
def decline_offer(path: EntryPath) -> Response:
    """Refuse the offer; the tickets go to the next in line."""
    with services().sessions.begin() as session:
        waitlist.decline(session, path.entry_id, current_actor(), services().clock.now())
    return _show(path.entry_id, status=202)


def _show(entry_id: UUID, *, status: int = 200) -> Response:
    with services().sessions() as session:
        return answer(_body(waitlist.find(session, entry_id, current_actor())), status)


def _body(entry: Waitlist) -> EntryBody:
    return EntryBody(
        id=entry.id,
        event_id=entry.event_id,
        event_title=entry.event.title,
        tier_id=entry.tier_id,
        tier_name=entry.tier.name,
        quantity=entry.quantity,
        status=entry.status,
        sequence=entry.sequence,
        position=entry.position if entry.is_waiting else None,
        offer=_offer(entry),
        unoffered_reason=entry.unoffered_reason,
        created_at=entry.created_at,
    )


def _offer(entry: Waitlist) -> OfferBody | None:
    if entry.offered_order_id is None or entry.offer_expires_at is None:
        return None
    if entry.status not in {WaitlistStatus.OFFERED, WaitlistStatus.ACCEPTED}:
        return None
    is_open = entry.status is WaitlistStatus.OFFERED
    here = f"{API}/waitlist/{entry.id}"
    return OfferBody(
        order_id=entry.offered_order_id,
        expires_at=entry.offer_expires_at,
        accept=f"{here}/accept" if is_open else None,
        decline=f"{here}/decline" if is_open else None,
    )
