"""Bodies of teams."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from domain.models import TeamMember
from domain.rules.states import TeamRight
from web.paging import PageArguments
from web.schemas.base import EmailAddress, PathArguments, QueryArguments, RequestBody, ResponseBody

_MEMBER: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b2e",
    "user_id": "0199c2f0-11aa-7c3e-9b1f-0d4c6e8f0b1a",
    "email": "door@harbour.example",
    "name": "Ada Lovelace",
    "rights": ["scan"],
    "created_at": "2027-03-01T09:30:00Z",
}


def _distinct(rights: tuple[TeamRight, ...]) -> tuple[TeamRight, ...]:
    return tuple(dict.fromkeys(rights))


Rights = Annotated[
    tuple[TeamRight, ...],
    Field(
        min_length=1,
        max_length=3,
        description="`manage`: events, tiers, codes, webhooks. `sell`: orders, approvals, refunds, figures. `scan`: "
        "the door.",
    ),
    AfterValidator(_distinct),
]


class WhosePromoter(QueryArguments):
    """Whose it is."""

    promoter_id: Annotated[UUID | None, Field(description="Without it, your own profile's.")] = None


class TeamArguments(PageArguments, WhosePromoter):
    """Whose team to list."""


class MemberPath(PathArguments):
    """Which member."""

    member_id: UUID


class AddMemberRequest(RequestBody):
    """Whom to take in, and what they may do."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "door@harbour.example", "rights": ["scan"]}]})

    email: Annotated[EmailAddress, Field(description="Of an account that has proved it.")]
    rights: Rights


class ChangeMemberRequest(RequestBody):
    """What a member may do from now on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rights": ["sell", "scan"]}]})

    rights: Rights


class MemberBody(ResponseBody):
    """A person in a team."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MEMBER]})

    id: UUID
    user_id: UUID
    email: str
    name: str
    rights: list[TeamRight]
    created_at: datetime

    @classmethod
    def of(cls, member: TeamMember) -> Self:
        """Return what is told about a member; their account is loaded."""
        return cls(
            id=member.id,
            user_id=member.user_id,
            email=member.user.email,
            name=member.user.full_name,
            rights=[TeamRight(right) for right in member.rights],
            created_at=member.created_at,
        )


class TeamBody(ResponseBody):
    """A team that one is in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "member_id": _MEMBER["id"],
                    "promoter_id": "0199c2f0-1111-7c3e-9b1f-2a4c6e8f0b1d",
                    "promoter_name": "Harbour Concerts ApS",
                    "rights": ["scan"],
                    "created_at": _MEMBER["created_at"],
                }
            ]
        }
    )

    member_id: Annotated[UUID, Field(description="To leave: `DELETE /promoters/me/team/{member_id}`.")]
    promoter_id: UUID
    promoter_name: str
    rights: list[TeamRight]
    created_at: datetime

    @classmethod
    def of(cls, member: TeamMember) -> Self:
        """Return what a member is told; the promoter is loaded."""
        return cls(
            member_id=member.id,
            promoter_id=member.promoter_id,
            promoter_name=member.promoter.company_name,
            rights=[TeamRight(right) for right in member.rights],
            created_at=member.created_at,
        )
