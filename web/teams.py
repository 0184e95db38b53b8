"""Routes of teams: `/promoters/me/team`, and `/teams` for those who are in one. The rules are in domain/teams.py."""

from flask import Response

from domain import teams
from domain.rules.states import UserRole
from web.addresses import API
from web.auth import current_actor, current_user_id, require
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.responses import answer, nothing
from web.schemas.teams import (
    AddMemberRequest,
    ChangeMemberRequest,
    MemberBody,
    MemberPath,
    TeamArguments,
    TeamBody,
    WhosePromoter,
)
from web.services import services

blueprint = open_blueprint("teams", "Whom promoters let work on their events, and what they may do there.")


@blueprint.get("/promoters/me/team", summary="List my team", responses={200: Page[MemberBody]})
@describes(problems=("not-found", "forbidden"))
def list_members(query: TeamArguments) -> Response:
    """Return who is in your team. Only promoters may ask, and admins, who say whose."""
    with services().sessions() as session:
        found = teams.list_members(
            session, current_actor(), query.promoter_id, after=query.after_id(), limit=query.limit
        )
        rows, next_cursor = cut(found, query.limit, lambda member: (member.id,))
        return answer(Page[MemberBody](items=[MemberBody.of(member) for member in rows], next_cursor=next_cursor))


@blueprint.post("/promoters/me/team", summary="Take somebody into my team", responses={201: MemberBody})
@describes(
    problems=("not-found", "forbidden", "no-verified-account", "already-in-team"),
    headers={201: {"Location": "Where to change or remove them."}},
)
@require(*UserRole, fresh=True)
def add_member(query: WhosePromoter, body: AddMemberRequest) -> Response:
    """Let a person who has an account work on your events, at once; they are told by mail, and may leave."""
    with services().sessions.begin() as session:
        member = teams.add_member(session, current_actor(), query.promoter_id, body.email, body.rights)
        shown = MemberBody.of(member)
    return answer(shown, 201, {"Location": f"{API}/promoters/me/team/{shown.id}"})


@blueprint.patch("/promoters/me/team/<uuid:member_id>", summary="Change a member's rights", responses={200: MemberBody})
@require(*UserRole, fresh=True)
def change_member(path: MemberPath, body: ChangeMemberRequest) -> Response:
    """Replace what a member may do; it counts from their next request."""
    with services().sessions.begin() as session:
        return answer(MemberBody.of(teams.change_rights(session, current_actor(), path.member_id, body.rights)))


@blueprint.delete("/promoters/me/team/<uuid:member_id>", summary="Remove a member, or leave", responses={204: None})
@require(*UserRole, fresh=True)
def remove_member(path: MemberPath) -> Response:
    """Take a member out of your team; members take themselves out so, too."""
    with services().sessions.begin() as session:
        teams.remove_member(session, current_actor(), path.member_id)
    return nothing()


@blueprint.get("/teams", summary="The teams that I am in", responses={200: Page[TeamBody]})
def list_teams(query: PageArguments) -> Response:
    """Return for whom you may work, and what you may do there."""
    with services().sessions() as session:
        found = teams.list_teams(session, current_user_id(), after=query.after_id(), limit=query.limit)
        rows, next_cursor = cut(found, query.limit, lambda member: (member.id,))
        return answer(Page[TeamBody](items=[TeamBody.of(member) for member in rows], next_cursor=next_cursor))
