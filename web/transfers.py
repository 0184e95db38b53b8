"""Handing tickets on: the sender offers and cancels, the recipient accepts or declines."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from flask import Response
from sqlalchemy.orm import Session

from domain import transfers
from domain.audit import Actor
from domain.rules.states import UserRole
from domain.transfers import Recipient
from web.addresses import API
from web.auth import current_actor, current_user_id, require
from web.idempotency import HEADER, REPLAYED, once
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer, nothing
from web.schemas.tickets import TicketPath
from web.schemas.transfers import TransferBody, TransferPath, TransferRequest
from web.services import services

PRIVATE = {"Cache-Control": "private, no-store"}
NOT_NOW = ("ticket-not-transferable", "transfers-not-allowed", "transfer-window-over", "event-cancelled")

blueprint = open_blueprint("transfers", "Tickets that change hands: offered to an address, accepted there.")

Act = Callable[[Session, UUID, Actor, datetime], None]


@blueprint.post("/tickets/<uuid:ticket_id>/transfer", summary="Hand a ticket on", responses={201: TransferBody})
@describes(
    problems=(
        *NOT_NOW,
        "transfer-pending",
        "too-many-transfers",
        "email-unverified",
        "idempotency-key-malformed",
        "idempotency-key-reused",
    ),
    headers={201: {"Location": "Where the transfer is.", REPLAYED: "`true` when an earlier request was answered."}},
    request_headers={HEADER: ("Names this request: a repetition is answered like the first.", False)},
)
@require(*UserRole, fresh=True)
def offer_ticket(path: TicketPath, body: TransferRequest) -> Response:
    """Offer a ticket that you hold to an address, which gets a mail. It stays yours until it is accepted there."""
    recipient, now = Recipient(body.email, body.name), services().clock.now()
    transfer_id, replayed = once(
        lambda session: transfers.offer(session, path.ticket_id, current_actor(), recipient, now).id, status=201
    )
    response = _show(transfer_id, status=201)
    response.headers["Location"] = f"{API}/transfers/{transfer_id}"
    if replayed:
        response.headers[REPLAYED] = "true"
    return response


@blueprint.delete("/tickets/<uuid:ticket_id>/transfer", summary="Keep a ticket", responses={204: None})
def keep_ticket(path: TicketPath) -> Response:
    """Take back the offer of your ticket, if one stands."""
    with services().sessions.begin() as session:
        transfers.cancel_of_ticket(session, path.ticket_id, current_actor(), services().clock.now())
    return nothing()


@blueprint.get("/transfers", summary="List your transfers", responses={200: Page[TransferBody]})
def list_transfers(query: PageArguments) -> Response:
    """List what you sent, and what was sent to your address once you have proven it, newest first."""
    with services().sessions() as session:
        rows = transfers.list_own(session, current_actor(), limit=query.limit, after=query.after_id())
        page, cursor = cut(rows, query.limit, lambda transfer: (transfer.id,))
        now = services().clock.now()
        items = [TransferBody.of(transfer, current_user_id(), now) for transfer in page]
    return answer(Page[TransferBody](items=items, next_cursor=cursor), headers=PRIVATE)


@blueprint.get("/transfers/<uuid:transfer_id>", summary="Show a transfer", responses={200: TransferBody})
@describes(problems=("email-unverified",))
def show_transfer(path: TransferPath) -> Response:
    """Show a transfer to its sender, or to whoever has proven the address that it went to."""
    return _show(path.transfer_id)


@blueprint.post("/transfers/<uuid:transfer_id>/accept", summary="Take a ticket over", responses={200: TransferBody})
@describes(problems=(*NOT_NOW, "transfer-closed", "email-unverified"))
@require(*UserRole, fresh=True)
def accept_transfer(path: TransferPath) -> Response:
    """Take the ticket: it gets a new code, drawn in a moment and mailed to you, and the old one opens no door."""
    return _act(transfers.accept, path.transfer_id)


@blueprint.post("/transfers/<uuid:transfer_id>/decline", summary="Decline a ticket", responses={200: TransferBody})
@describes(problems=("transfer-closed", "email-unverified"))
def decline_transfer(path: TransferPath) -> Response:
    """Refuse the ticket; it stays with its holder, who is told."""
    return _act(transfers.decline, path.transfer_id)


@blueprint.post("/transfers/<uuid:transfer_id>/cancel", summary="Cancel a transfer", responses={200: TransferBody})
@describes(problems=("transfer-closed",))
def cancel_transfer(path: TransferPath) -> Response:
    """Take back an offer that was not accepted yet."""
    return _act(transfers.cancel, path.transfer_id)


def _act(act: Act, transfer_id: UUID) -> Response:
    with services().sessions.begin() as session:
        act(session, transfer_id, current_actor(), services().clock.now())
    return _show(transfer_id)


def _show(transfer_id: UUID, *, status: int = 200) -> Response:
    with services().sessions() as session:
        transfer = transfers.find(session, transfer_id, current_actor())
        body = TransferBody.of(transfer, current_user_id(), services().clock.now())
    return answer(body, status, PRIVATE)
