"""Orders: submit, poll, list, confirm, cancel; a promoter's approval and refunds."""

from collections.abc import Callable
from uuid import UUID

from flask import Response, request
from sqlalchemy.orm import Session

from domain import approvals, orders
from domain.errors import BusyError
from domain.line import Pulse
from domain.payments import confirmations, refunds
from domain.purchases import Arrival, Purchase, Wish
from domain.rules.lifecycle import WAITING
from domain.rules.states import OrderStage, UserRole
from web.addresses import API
from web.auth import current_actor, current_user_id, require
from web.idempotency import HEADER, REPLAYED, fingerprint, once, read_key
from web.openapi import describes, open_blueprint
from web.order_bodies import order_body, placed_body
from web.paging import Page, PageArguments, cut
from web.polling import FAIRNESS_HEAD, add_polling_headers, answer_unchanged, asked_to_wait, is_unchanged, still_moves
from web.rate_limits import guessing_limited, limited
from web.request_ids import request_id
from web.responses import answer
from web.schemas.codes import CODE_REFUSALS
from web.schemas.orders import ConfirmRequest, OrderBody, OrderPath, OrderRequest, RefundRequest
from web.services import services

blueprint = open_blueprint("orders", "Purchases: accepted at once, decided in the order of arrival.")

SEAT_SECONDS = 0.05
"""Among busy threads a seat is free within milliseconds; where commits are slow, waiting longer keeps readers out."""
KEY_HEADER = {HEADER: ("Names this purchase: send the same one when you repeat it.", True)}
OPTIONAL_KEY_HEADER = {HEADER: ("Names this request: a repetition is answered like the first.", False)}
POLL_HEADERS = {
    "ETag": "Differs when the order or its place differs.",
    "Retry-After": "Seconds until it is worth asking again; absent once nothing moves any more.",
}
MOVED = {202: {**POLL_HEADERS, REPLAYED: "`true` when an earlier request was answered again."}}


@blueprint.post("/orders", summary="Submit a purchase", responses={202: OrderBody})
@describes(
    problems=(
        "idempotency-key-missing",
        "idempotency-key-malformed",
        "idempotency-key-reused",
        "sold-out",
        "sale-closed",
        "sale-not-open",
        "limit-exceeded",
        "event-cancelled",
        "sale-draining",
        "too-many-waiting",
        *CODE_REFUSALS,
    ),
    headers={202: {"Location": "Where to poll.", **MOVED[202]}},
    request_headers=KEY_HEADER,
)
@limited("orders")
def submit_order(body: OrderRequest) -> Response:
    """Take a purchase into the tiers' lines. 202 means that it is stored and keeps its place whatever happens."""
    seats = services().accept_seats
    if not seats.acquire(timeout=SEAT_SECONDS):
        raise BusyError("So many orders are being taken in that yours would have to wait: send it again.")
    try:
        with guessing_limited(body.code):
            return _submit(body)
    finally:
        seats.release()


def _submit(body: OrderRequest) -> Response:
    purchase, now = _purchase(body), services().clock.now()
    offers = services().storefront.look([wish.tier_id for wish in purchase.wishes])
    code = services().storefront.find_code(purchase.event_id, purchase.code) if purchase.code else None
    acceptance, place = services().together.accept(Arrival(purchase, offers, now, code))
    order_id, placement = acceptance.order_id, acceptance.placement
    if placement is None:
        response = _show(order_id, status=202)
        response.headers[REPLAYED] = "true"
    else:
        pulse = Pulse(purchase.buyer_id, placement.version, OrderStage.QUEUED, place)
        # By now it is committed, and the client as good as has it: the checker of the fairness log goes by this time.
        shown = placed_body(
            order_id, placement, purchase, offers, place=place, receipts=services().receipts, now=services().clock.now()
        )
        response = add_polling_headers(answer(shown, 202), pulse)
    response.headers["Location"] = f"{API}/orders/{order_id}"
    return response


def _purchase(body: OrderRequest) -> Purchase:
    billing = body.billing
    address = billing.model_dump(exclude={"name", "email"}, exclude_none=True) if billing else {}
    return Purchase(
        buyer_id=current_user_id(),
        event_id=body.event_id,
        wishes=[
            Wish(item.tier_id, item.quantity, [attendee.model_dump(exclude_none=True) for attendee in item.attendees])
            for item in body.items
        ],
        idempotency_key=read_key(),
        fingerprint=fingerprint(),
        request_id=request_id(),
        billing_name=billing.name if billing else None,
        billing_email=billing.email if billing else None,
        billing_address=address or None,
        code=body.code,
    )


@blueprint.get("/orders/<uuid:order_id>", summary="Poll an order", responses={200: OrderBody})
@describes(
    headers={
        200: POLL_HEADERS,
        304: {**POLL_HEADERS, FAIRNESS_HEAD: "The `head` of each of the order's tiers, as a JSON array."},
    },
    request_headers={
        "If-None-Match": ("The last ETag: 304 while nothing has changed.", False),
        "Prefer": ("`wait=N` holds the answer until the order moves, N seconds at most.", False),
    },
)
def poll_order(path: OrderPath) -> Response:
    """Show where an order stands: its place in line, its clock, how to pay, its tickets, all that happened."""
    pulse = _pulse(path.order_id)
    seconds = asked_to_wait()
    waited = False
    if seconds and still_moves(pulse) and (is_unchanged(pulse) or not request.if_none_match):
        waited = services().waiting_room.wait_for_change(path.order_id, pulse, seconds)
        pulse = _pulse(path.order_id) if waited else pulse
    unchanged = is_unchanged(pulse)
    response = answer_unchanged(pulse) if unchanged else _show(path.order_id, status=200)
    if waited:
        response.headers["Preference-Applied"] = f"wait={seconds:.0f}"
    return response


def _pulse(order_id: UUID) -> Pulse:
    """Return the pulse, with its place, of an order that the caller may see; strangers are told that there is none."""
    pulse = services().together.pulse(order_id)
    if pulse.buyer_id != current_user_id():
        with services().statements() as session:
            orders.find(session, order_id, current_actor())
    return pulse


def _show(order_id: UUID, *, status: int) -> Response:
    with services().statements() as session:
        order = orders.find(session, order_id, current_actor())
        place = services().lines.find_place(session, order_id) if order.stage in WAITING else None
        paying = [order_id] if order.stripe_payment_intent_id else []
        issued = [order_id] if order.confirmed_at else []
        body = order_body(
            session,
            order,
            place=place,
            attempt=orders.find_last_charges(session, paying).get(order_id),
            tickets=orders.find_tickets(session, issued).get(order_id, ()),
            viewer=current_actor(),
            receipts=services().receipts,
            now=services().clock.now(),
        )
    return add_polling_headers(answer(body, status), Pulse(order.user_id, order.version, order.stage, place))


@blueprint.get("/orders", summary="List your orders", responses={200: Page[OrderBody]})
def list_orders(query: PageArguments) -> Response:
    """List the orders of whoever is logged in, newest first."""
    after = query.after(UUID)
    with services().sessions() as session:
        rows = orders.list_own(session, current_user_id(), limit=query.limit, after=after[0] if after else None)
        page, cursor = cut(rows, query.limit, lambda order: (order.id,))
        tickets = orders.find_tickets(session, [order.id for order in page])
        charges = orders.find_last_charges(session, [order.id for order in page])
        items = [
            order_body(
                session,
                order,
                place=services().lines.find_place(session, order.id) if order.stage in WAITING else None,
                attempt=charges.get(order.id),
                tickets=tickets[order.id],
                viewer=current_actor(),
                receipts=services().receipts,
                now=services().clock.now(),
            )
            for order in page
        ]
    return answer(Page[OrderBody](items=items, next_cursor=cursor))


@blueprint.post("/orders/<uuid:order_id>/confirm", summary="Pay", responses={202: OrderBody})
@describes(
    problems=(
        "not-payable",
        "payment-not-ready",
        "payment-in-progress",
        "hold-expired",
        "idempotency-key-malformed",
        "idempotency-key-reused",
    ),
    headers=MOVED,
    request_headers=OPTIONAL_KEY_HEADER,
)
@limited("orders")
def confirm_order(path: OrderPath, body: ConfirmRequest) -> Response:
    """Pay with a payment method made by Stripe's client; a decline is no end, try again while the hold lasts."""
    buyer, now, clocks = current_actor(), services().clock.now(), services().clocks
    return _once(
        path.order_id,
        lambda session: confirmations.request_confirmation(
            session, path.order_id, buyer, body.payment_method, now, clocks
        ),
    )


@blueprint.post("/orders/<uuid:order_id>/cancel", summary="Cancel an unpaid order", responses={202: OrderBody})
@describes(problems=("not-cancellable",), headers=MOVED)
def cancel_order(path: OrderPath) -> Response:
    """Give up an order that is not paid; its stock goes to the next in line."""
    now, clocks = services().clock.now(), services().clocks
    return _once(path.order_id, lambda session: orders.cancel(session, path.order_id, current_actor(), now, clocks))


@blueprint.post("/orders/<uuid:order_id>/approve", summary="Approve an order", responses={202: OrderBody})
@describes(problems=("not-awaiting-approval",), headers=MOVED)
@require(*UserRole, fresh=True)
def approve_order(path: OrderPath) -> Response:
    """Let an order of a tier that requires approval go on to payment."""
    now, clocks = services().clock.now(), services().clocks
    return _once(path.order_id, lambda session: approvals.approve(session, path.order_id, current_actor(), clocks, now))


@blueprint.post("/orders/<uuid:order_id>/decline", summary="Decline an order", responses={202: OrderBody})
@describes(problems=("not-awaiting-approval",), headers=MOVED)
@require(*UserRole, fresh=True)
def decline_order(path: OrderPath) -> Response:
    """Refuse an order that awaits approval; its stock goes back."""
    return _once(
        path.order_id,
        lambda session: approvals.decline(session, path.order_id, current_actor(), services().clock.now()),
    )


@blueprint.post("/orders/<uuid:order_id>/refund", summary="Refund an order", responses={202: OrderBody})
@describes(
    problems=(
        "nothing-to-refund",
        "refund-exceeds-payment",
        "ticket-not-refundable",
        "refund-not-allowed",
        "refund-window-over",
        "forbidden",
        "idempotency-key-malformed",
        "idempotency-key-reused",
    ),
    headers=MOVED,
    request_headers=OPTIONAL_KEY_HEADER,
)
@require(*UserRole, fresh=True)
def refund_order(path: OrderPath, body: RefundRequest) -> Response:
    """Give a payment back: tickets for their share of it, an amount, or all that is left.

    Tickets that go back end, and their seats return to the sale. Who sells may always ask, buyers until
    `buyer_refund_hours` before the start, for unused tickets. The platform's fee goes back in proportion where the
    event's `returns_fees` says so; after a cancelled event, or a late payment, it always does.
    """

    def act(session: Session) -> None:
        refunds.request_refund(
            session,
            path.order_id,
            reason=body.reason,
            requested_by=current_actor(),
            now=services().clock.now(),
            amount=body.amount,
            ticket_ids=body.tickets or (),
        )

    return _once(path.order_id, act)


def _once(order_id: UUID, act: Callable[[Session], None]) -> Response:
    """Do what moves an order, once per idempotency key where one is sent, and show the order."""

    def move(session: Session) -> UUID:
        act(session)
        return order_id

    _, replayed = once(move, status=202)
    response = _show(order_id, status=202)
    if replayed:
        response.headers[REPLAYED] = "true"
    return response
