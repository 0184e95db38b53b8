"""Bodies of discount and access codes."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from domain.codes import CodeDetails
from domain.rules.codes import spell
from domain.rules.money import MAXIMUM_CHARGE
from web.schemas.base import INT32_MAX, Line, Moment, PathArguments, RequestBody, ResponseBody

BATCH = 1000
TIERS_NAMED = 100
CODE_PROBLEMS = ("code-invalid", "code-not-valid-yet", "code-expired")
"""Why a code that is sent along cannot be used."""
CODE_REFUSALS = (*CODE_PROBLEMS, "code-not-applicable", "code-exhausted")
"""Why nothing can be ordered with it."""

SentCode = Annotated[Line, StringConstraints(max_length=40), AfterValidator(spell)]
"""A code as a buyer types it: in any case."""
NewCode = Annotated[
    str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{2,39}$")
]
Prefix = Annotated[
    str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,19}$")
]
Share = Annotated[int, Field(ge=1, le=10_000, description="Basis points off each line that the code is for.")]
AmountOff = Annotated[
    int, Field(ge=1, le=MAXIMUM_CHARGE, description="Minor units of the event's currency off each ticket.")
]
Limit = Annotated[int, Field(ge=1, le=INT32_MAX)]
OpensHidden = Annotated[bool, Field(description="Hidden tiers among `tier_ids` can be seen and bought with it.")]
TierIds = Annotated[
    list[UUID], Field(max_length=TIERS_NAMED, description="What it is for; every tier that all can see where empty.")
]
MaxUses = Annotated[Limit | None, Field(description="Orders, each counted once.")]
MaxPerPerson = Annotated[Limit | None, Field(description="Tickets, over all of a person's orders.")]

_TERMS: dict[str, Any] = {
    "discount_bps": 1000,
    "discount_amount": None,
    "opens_hidden": False,
    "tier_ids": [],
    "max_uses": 200,
    "max_tickets": None,
    "max_per_person": 4,
    "valid_from": None,
    "valid_until": "2027-06-01T00:00:00Z",
    "is_active": True,
}
_CODE: dict[str, Any] = {
    "id": "0199c2f0-9b00-7c3e-9b1f-2a4c6e8f0b1d",
    "event_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "code": "HARBOUR-10",
    **_TERMS,
    "uses": 31,
    "tickets": 58,
    "created_at": "2027-03-01T09:00:00Z",
    "updated_at": "2027-04-11T18:21:07Z",
}


class CodePath(PathArguments):
    """A code's id."""

    code_id: UUID


class CodeTermsRequest(RequestBody):
    """What a code does: a share or an amount off, hidden tiers opened, or both of it."""

    discount_bps: Share | None = None
    discount_amount: AmountOff | None = None
    opens_hidden: OpensHidden = False
    tier_ids: Annotated[TierIds, Field(default_factory=list)]
    max_uses: MaxUses = None
    max_tickets: Limit | None = None
    max_per_person: MaxPerPerson = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    is_active: bool = True

    def details(self) -> CodeDetails:
        """Return what the domain keeps."""
        return CodeDetails(**self.model_dump(include=set(CodeTermsRequest.model_fields)))


class CodeRequest(CodeTermsRequest):
    """A new code. Letters, digits and hyphens, in any case."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "harbour-10", **_TERMS}]})

    code: NewCode


class CodeBatchRequest(CodeTermsRequest):
    """Many new codes that do the same; each has limits of its own."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_TERMS, "count": 200, "prefix": "press", "max_uses": 1}]}
    )

    count: Annotated[int, Field(ge=1, le=BATCH)]
    prefix: Annotated[Prefix | None, Field(description="What all of them begin with.")] = None


class CodeChanges(CodeTermsRequest):
    """What to change; what is left out stays. The letters of a code cannot be changed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"max_uses": 300}, {"is_active": False}]})

    def changes(self) -> dict[str, Any]:
        """Return what was sent."""
        return self.model_dump(exclude_unset=True)


class CodeBody(ResponseBody):
    """A code, and what was taken with it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CODE]})

    id: UUID
    event_id: UUID
    code: str
    discount_bps: Share | None
    discount_amount: AmountOff | None
    opens_hidden: OpensHidden
    tier_ids: TierIds
    max_uses: MaxUses
    max_tickets: int | None
    max_per_person: MaxPerPerson
    valid_from: datetime | None
    valid_until: datetime | None
    is_active: bool
    uses: Annotated[int, Field(description="Orders that hold or have tickets with it.")]
    tickets: Annotated[int, Field(description="Those tickets.")]
    created_at: datetime
    updated_at: datetime


class CodesBody(ResponseBody):
    """The codes that were made."""

    items: list[CodeBody]
