"""Routes of administrators: `/admin/*`. The rules are in domain/users.py, domain/deletions.py and domain/audit.py."""

from collections import defaultdict
from collections.abc import Sequence

from flask import Response

from domain import audit, deletions, users
from domain.audit import Search
from domain.models import Event, User
from domain.rules.states import UserRole
from domain.users import UserSearch
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.paging import Page, cut
from web.responses import answer, nothing
from web.schemas.admin import (
    AuditArguments,
    AuditEntryBody,
    ChangeUserRequest,
    DeletedArguments,
    DeletedBody,
    DeletedKind,
    ManagedUserBody,
    PersonalChangeBody,
    UserArguments,
    UserPath,
)
from web.schemas.events import EventBody, EventPath
from web.services import services

blueprint = open_blueprint("admin", "Users, what was deleted, and the audit log; for administrators.")


@blueprint.get("/admin/users", summary="List users", responses={200: Page[ManagedUserBody]})
@require(UserRole.ADMIN, fresh=True)
def list_users(query: UserArguments) -> Response:
    """Return users, newest first."""
    before = query.after_id()
    with services().sessions() as session:
        wanted = UserSearch(query.q, query.role, query.verification)
        found = users.list_users(session, wanted, before=before, limit=query.limit)
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


@blueprint.delete("/admin/users/<uuid:user_id>", summary="Delete a user", responses={204: None})
@describes(problems=("last-admin",))
@require(UserRole.ADMIN, fresh=True)
def delete_user(path: UserPath) -> Response:
    """Take an account away until it is restored; its address is free meanwhile. Erasing is another matter."""
    parts = services()
    with parts.sessions.begin() as session:
        deletions.delete_user(session, current_actor(), path.user_id, parts.clock.now())
    return nothing()


@blueprint.get("/admin/deleted", summary="List what was deleted", responses={200: Page[DeletedBody]})
@require(UserRole.ADMIN, fresh=True)
def list_deleted(query: DeletedArguments) -> Response:
    """Return deleted users or events, newest first."""
    find = deletions.list_users if query.kind is DeletedKind.USER else deletions.list_events
    with services().sessions() as session:
        found: Sequence[User | Event] = find(session, before=query.after_id(), limit=query.limit)
    rows, next_cursor = cut(found, query.limit, lambda thing: (thing.id,))
    return answer(Page[DeletedBody](items=[DeletedBody.of(thing) for thing in rows], next_cursor=next_cursor))


@blueprint.post(
    "/admin/users/<uuid:user_id>/restore", summary="Restore a deleted user", responses={200: ManagedUserBody}
)
@describes(problems=("email-taken", "user-erased"))
@require(UserRole.ADMIN, fresh=True)
def restore_user(path: UserPath) -> Response:
    """Bring an account back as it was, logged out. Again changes nothing."""
    with services().sessions.begin() as session:
        user = deletions.restore_user(session, current_actor(), path.user_id)
        return answer(ManagedUserBody.model_validate(user))


@blueprint.post("/admin/events/<uuid:event_id>/restore", summary="Restore a deleted event", responses={200: EventBody})
@require(UserRole.ADMIN, fresh=True)
def restore_event(path: EventPath) -> Response:
    """Bring an event back: a draft as it was, any other as a cancelled one. Again changes nothing."""
    with services().sessions.begin() as session:
        event = deletions.restore_event(session, current_actor(), path.event_id)
        return answer(EventBody.of(event))


@blueprint.get("/admin/audit-log", summary="Search the audit log", responses={200: Page[AuditEntryBody]})
@require(UserRole.ADMIN, fresh=True)
def search_audit_log(query: AuditArguments) -> Response:
    """Return entries, newest first, with the personal values that are not erased."""
    before = query.after_id()
    ip = str(query.ip) if query.ip is not None else None
    wanted = Search(**query.model_dump(exclude={"limit", "cursor", "ip"}), ip=ip)
    with services().sessions() as session:
        found = audit.search(session, wanted, before=before, limit=query.limit)
        rows, next_cursor = cut(found, query.limit, lambda entry: (entry.id,))
        personal = defaultdict(list)
        for value in audit.personal_values(session, rows):
            personal[value.audit_log_id].append(PersonalChangeBody.model_validate(value))
    items = [AuditEntryBody.model_validate(entry).model_copy(update={"personal": personal[entry.id]}) for entry in rows]
    return answer(Page[AuditEntryBody](items=items, next_cursor=next_cursor))
