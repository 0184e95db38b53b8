"""Routes of what is held about a person: read whole, and erased. The rules are in domain/personal_data.py, erasure.py.

Each is there for the person (`/auth/me/*`), and for admins who act on a request that came by letter.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from typing import IO
from uuid import UUID

from flask import Response

from domain import accounts, erasure, personal_data
from domain.errors import UnauthenticatedError
from domain.rules.states import UserRole
from web.auth import current_actor, current_user_id, require
from web.openapi import describes, open_blueprint
from web.rate_limits import check_failed_log_ins, count_failed_log_in, limited
from web.responses import JSON, nothing
from web.schemas.admin import UserPath
from web.schemas.personal_data import EraseMeRequest, PersonalDataBody
from web.services import services

blueprint = open_blueprint("personal data", "What is held about a person: all of it in one file, or none of it.")

IN_MEMORY = 1024 * 1024
"""Bytes of an export that are kept in memory; what is longer waits in a file."""
CHUNK = 64 * 1024


@blueprint.get("/auth/me/export", summary="Everything about me", responses={200: PersonalDataBody})
@describes(problems=("not-found",), headers={200: {"Content-Disposition": "A name to save the file under."}})
@limited("accounts")
def export_me() -> Response:
    """Return all that is held about you, table by table; secrets are hidden."""
    return _export(current_user_id())


@blueprint.post("/auth/me/erasure", summary="Erase me", responses={204: None})
@describes(problems=("not-found", "invalid-credentials", "erasure-too-early", "last-admin"))
@limited("accounts")
def erase_me(body: EraseMeRequest) -> Response:
    """End your account for good, and forget who you are. Amounts and dates of what you bought stay in the books."""
    parts = services()
    with parts.sessions() as session:
        email = accounts.find_user(session, current_user_id()).email
    check_failed_log_ins(email)
    try:
        erasure.erase_own(parts.sessions, parts.hasher, current_actor(), body.password, parts.clock.now())
    except UnauthenticatedError:
        count_failed_log_in(email)
        raise
    return nothing()


@blueprint.get(
    "/admin/users/<uuid:user_id>/export", summary="Everything about a user", responses={200: PersonalDataBody}
)
@describes(headers={200: {"Content-Disposition": "A name to save the file under."}})
@limited("accounts")
@require(UserRole.ADMIN, fresh=True)
def export_user(path: UserPath) -> Response:
    """Return all that is held about a user, open, closed or deleted, table by table; secrets are hidden."""
    return _export(path.user_id)


@blueprint.post("/admin/users/<uuid:user_id>/erasure", summary="Erase a user", responses={204: None})
@describes(problems=("erasure-too-early", "last-admin"))
@require(UserRole.ADMIN, fresh=True)
def erase_user(path: UserPath) -> Response:
    """End a user's account for good, and forget who they are. Again forgets what came in meanwhile."""
    parts = services()
    with parts.sessions.begin() as session:
        erasure.erase(session, current_actor(), path.user_id, parts.clock.now())
    return nothing()


def _export(user_id: UUID) -> Response:
    """Write the export to its end before the first byte is sent: a slow reader holds no connection to the database."""
    parts = services()
    with ExitStack() as stack:
        file = stack.enter_context(SpooledTemporaryFile(max_size=IN_MEMORY))
        with parts.sessions.begin() as session:
            personal_data.export(session, current_actor(), user_id, file, parts.clock.now())
        headers = {
            "Content-Disposition": f"attachment; filename=personal-data-{user_id}.json",
            "Content-Length": str(file.tell()),
        }
        response = Response(_read(file), mimetype=JSON, headers=headers)
        # From here on the answer holds the file.
        response.call_on_close(stack.pop_all().close)
    return response


def _read(file: IO[bytes]) -> Iterator[bytes]:
    """Read a file from its beginning, and close it at its end."""
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK):
            yield chunk
