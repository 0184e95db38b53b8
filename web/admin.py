"""Routes of administrators: `/admin/*`. The rules are in domain/users.py and domain/audit.py."""

from collections import defaultdict

from flask import Response

from domain import audit, users
from domain.audit import Search
from domain.rules.states import UserRole
from domain.users import UserSearch
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.paging import Page, cut
from web.responses import answer
from web.schemas.admin import (
    AuditArguments,
    AuditEntryBody,
    ChangeUserRequest,
    ManagedUserBody,
    PersonalChangeBody,
    UserArguments,
    UserPath,
)
from web.services import services

blueprint = open_blueprint("admin", "Users and the audit log, for administrators.")


@blueprint.get("/admin/users", summary="List users", responses={200: Page[ManagedUserBody]})
@require(UserRole.ADMIN, fresh=True)
def list_users(query: UserArguments) -> Response:
    """Return users, newest first."""
    before = query.after_id()
    with services().sessions() as session:
        found = users.list_users(session, UserSearch(query.q, query.role), before=before, limit=query.limit)
    rows, next_cursor = cut(found, query.limit, lambda user: (user.id,))
    items = [ManagedUserBody.model_validate(user) for user in rows]
    return answer(Page[ManagedUserBody](items=items, next_cursor=next_cursor))


@blueprint.get("/admin/users/<uuid:user_id>", summary="A user", responses={200: ManagedUserBody})
@require(UserRole.ADMIN, fresh=True)
def show_user(path: UserPath) -> Response:
    """Return a user, open or closed."""
    with services().sessions() as session:
        return answer(ManagedUserBody.model_validate(users.read_user(session, path.user_id)))


@blueprint.patch("/admin/users/<uuid:user_id>", summary="Change a user", responses={200: ManagedUserBody})
@describes(problems=("last-admin",))
@require(UserRole.ADMIN, fresh=True)
def change_user(path: UserPath, body: ChangeUserRequest) -> Response:
    """Set the role, or close and open the account; a closed one is logged out everywhere."""
    parts = services()
    with parts.sessions.begin() as session:
        values = body.model_dump(exclude_unset=True)
        user = users.change_user(session, current_actor(), path.user_id, values, parts.clock.now())
    return answer(ManagedUserBody.model_validate(user))


@blueprint.get("/admin/audit-log", summary="Search the audit log", responses={200: Page[AuditEntryBody]})
@require(UserRole.ADMIN, fresh=True)
def search_audit_log(query: AuditArguments) -> Response:
    """Return entries, newest first, with the personal values that are not erased."""
    before = query.after_id()
    wanted = Search(**query.model_dump(exclude={"limit", "cursor"}))
    with services().sessions() as session:
        found = audit.search(session, wanted, before=before, limit=query.limit)
        rows, next_cursor = cut(found, query.limit, lambda entry: (entry.id,))
        personal = defaultdict(list)
        for value in audit.personal_values(session, rows):
            personal[value.audit_log_id].append(PersonalChangeBody.model_validate(value))
    items = [AuditEntryBody.model_validate(entry).model_copy(update={"personal": personal[entry.id]}) for entry in rows]
    return answer(Page[AuditEntryBody](items=items, next_cursor=next_cursor))
