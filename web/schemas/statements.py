"""Bodies of statements."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.models import Statement
from domain.rules.statements import MismatchKind
from web.schemas.base import ResponseBody

_EVENT_ID = "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d"
_MONEY = {"charged": 1_250_000, "fees": 31_250, "refunded": 50_000, "disputed": 0, "kept": 1_200_000}
_STATEMENT: dict[str, Any] = {
    "event_id": _EVENT_ID,
    "as_of": "2027-06-06T03:30:00Z",
    "made_at": "2027-06-06T03:30:02Z",
    "is_renewed": False,
    "currency": "DKK",
    "difference": 4_200,
    "provider": {**_MONEY, "refunded": 54_200, "kept": 1_195_800},
    "ledger": _MONEY,
    "unsplit_fees": 0,
    "tickets": {"live": 230, "face_value": 1_150_000},
    "mismatches": [
        {
            "kind": "refunded",
            "order_id": "0199c2f0-2222-7c3e-9b1f-2a4c6e8f0b1d",
            "order_number": "TV-00000042",
            "charge_id": "ch_3PqR5t2eZvKYlo2C1A2b3C4d",
            "provider": 4_200,
            "ledger": 0,
            "tickets": None,
            "difference": 4_200,
        }
    ],
    "mismatch_counts": {"refunded": 1},
    "moving": [],
    "moving_count": 0,
}


class MoneyBody(ResponseBody):
    """Sums in minor units of the event's currency."""

    charged: int
    fees: Annotated[
        int, Field(description="The platform's fees that Stripe took out of charges, less those given back.")
    ]
    refunded: int
    disputed: Annotated[int, Field(description="What disputes have taken at the moment.")]
    kept: Annotated[int, Field(description="What was charged and has not gone back.")]


class LiveTicketsBody(ResponseBody):
    """The tickets that were not taken back."""

    live: int
    face_value: Annotated[int, Field(description="Their prices, without fees and tax.")]


class MismatchBody(ResponseBody):
    """Two numbers that should be one: Stripe's and the ledger's, or the ledger's and the tickets'."""

    kind: MismatchKind
    order_id: UUID | None
    order_number: str | None
    charge_id: str | None
    provider: int | None
    ledger: int
    tickets: int | None
    difference: Annotated[int, Field(description="By how much the first of the two is more.")]


class StatementBody(ResponseBody):
    """An event's money by three accounts."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STATEMENT]})

    event_id: UUID
    as_of: Annotated[datetime, Field(description="When Stripe was asked.")]
    made_at: datetime
    is_renewed: Annotated[bool, Field(description="Whether a newer one is being made.")]
    currency: str
    difference: Annotated[int, Field(description="What cannot be explained: all mismatches, each without its sign.")]
    provider: MoneyBody
    ledger: MoneyBody
    unsplit_fees: Annotated[
        int, Field(description="The platform's fees inside charges of its own account, of which Stripe knows nothing.")
    ]
    tickets: LiveTicketsBody
    mismatches: Annotated[list[MismatchBody], Field(description="The largest fifty.")]
    mismatch_counts: Annotated[dict[MismatchKind, int], Field(description="How many there are of each kind.")]
    moving: Annotated[
        list[MismatchBody],
        Field(description="What does not agree because it is on its way, the largest fifty; in no difference."),
    ]
    moving_count: int

    @classmethod
    def of(cls, statement: Statement, *, is_renewed: bool) -> Self:
        """Return a statement that was made."""
        own = {name: getattr(statement, name) for name in ("event_id", "made_at", "difference")}
        return cls.model_validate({**(statement.body or {}), **own, "is_renewed": is_renewed})


class StatementUnderWay(ResponseBody):
    """The event's first statement is being made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"event_id": _EVENT_ID}]})

    event_id: UUID
