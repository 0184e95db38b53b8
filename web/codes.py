"""Routes of discount and access codes. The rules are in domain/codes.py; buyers send a code with their order."""

from flask import Response

from domain import codes
from domain.rules.states import UserRole
from web.addresses import API
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer, nothing
from web.schemas.codes import (
    CodeBatchRequest,
    CodeBody,
    CodeChanges,
    CodePath,
    CodeRequest,
    CodesBody,
)
from web.schemas.events import EventPath
from web.services import services

blueprint = open_blueprint("codes", "Codes that make tickets cheaper, or open hidden tiers, within limits.")


@blueprint.post("/events/<uuid:event_id>/codes", summary="Make a code", responses={201: CodeBody})
@describes(problems=("forbidden", "code-taken"), headers={201: {"Location": "Where the code is."}})
@require(*UserRole, fresh=True)
def create_code(path: EventPath, body: CodeRequest) -> Response:
    """Make a code for your event: a discount, a key to hidden tiers, or both.

    A discount leaves a line that costs nothing, or at least what can be charged.
    """
    with services().sessions.begin() as session:
        made = codes.create_code(session, current_actor(), path.event_id, body.code, body.details())
        shown = CodeBody.model_validate(made)
    return answer(shown, 201, {"Location": f"{API}/codes/{shown.id}"})


@blueprint.post("/events/<uuid:event_id>/codes/batch", summary="Make many codes", responses={201: CodesBody})
@describes(problems=("forbidden",), headers={201: {"Location": "Where all codes are."}})
@require(*UserRole, fresh=True)
def generate_codes(path: EventPath, body: CodeBatchRequest) -> Response:
    """Make codes at random that do the same, to be given out one by one: nobody can guess them."""
    with services().sessions.begin() as session:
        made = codes.generate_codes(
            session, current_actor(), path.event_id, body.details(), count=body.count, prefix=body.prefix
        )
        items = [CodeBody.model_validate(code) for code in made]
    return answer(CodesBody(items=items), 201, {"Location": f"{API}/events/{path.event_id}/codes"})


@blueprint.get("/events/<uuid:event_id>/codes", summary="List an event's codes", responses={200: Page[CodeBody]})
@describes(problems=("forbidden",))
def list_codes(path: EventPath, query: PageArguments) -> Response:
    """List your event's codes, newest first, with what was taken with each."""
    before = query.after_id()
    with services().sessions() as session:
        found = codes.list_codes(session, current_actor(), path.event_id, before=before, limit=query.limit)
        rows, next_cursor = cut(found, query.limit, lambda code: (code.id,))
        items = [CodeBody.model_validate(code) for code in rows]
    return answer(Page[CodeBody](items=items, next_cursor=next_cursor))


@blueprint.get("/codes/<uuid:code_id>", summary="Show a code", responses={200: CodeBody})
@describes(problems=("forbidden",))
def show_code(path: CodePath) -> Response:
    """Show a code, and what was taken with it."""
    with services().sessions() as session:
        return answer(CodeBody.model_validate(codes.find_code(session, current_actor(), path.code_id)))


@blueprint.patch("/codes/<uuid:code_id>", summary="Edit a code", responses={200: CodeBody})
@describes(problems=("forbidden", "code-limit-below-taken"))
@require(*UserRole, fresh=True)
def update_code(path: CodePath, body: CodeChanges) -> Response:
    """Change what a code does, for new orders: those that were accepted keep their price."""
    with services().sessions.begin() as session:
        code = codes.update_code(session, current_actor(), path.code_id, body.changes())
        session.flush()
        return answer(CodeBody.model_validate(code))


@blueprint.delete("/codes/<uuid:code_id>", summary="Withdraw a code", responses={204: None})
@describes(problems=("forbidden",))
@require(*UserRole, fresh=True)
def delete_code(path: CodePath) -> Response:
    """Take a code back. One with which something was ordered stays in the list, inactive."""
    with services().sessions.begin() as session:
        codes.delete_code(session, current_actor(), path.code_id)
    return nothing()
